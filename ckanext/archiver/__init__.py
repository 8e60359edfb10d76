"""ckanext-archiver: whether a person can still get each file of a portal, since when not, and why; and a copy.

Start reading at ``archiving.archive_resource``, the way of one resource; ``outbox`` is how requests are kept,
``dispatch`` how they reach the workers, ``engine.fetch.fetch`` how a link is looked at, ``verdict.judge`` what
is said about it.
"""
