"""A CKAN with its servers in one folder: shared by ``bin/stack``, ``bin/test``, ``bin/check`` and ``bin/bench``.

Standard library only, because this code runs before anything is installed. Read ``cli.py`` first: its ``up``
is the order of events; each server has a module of its own.
"""
