"""``bin/demo``: a small portal with a link of every kind, on a real stack.

Standard library only. Read ``cli.py`` first: its ``_run`` is the order of events. ``portal.py`` is the portal as
data, with what is expected of each link. The web server its links lead to is ``tests/support/origin_server.py``.
"""
