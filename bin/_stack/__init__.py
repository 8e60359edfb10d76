"""A CKAN with its servers in one folder: what ``bin/stack``, ``bin/test`` and ``bin/check`` share.

Standard library only, because this code runs before anything is installed. Read ``cli.py`` first: its ``up``
is the order of events; each server has a module of its own.
"""
