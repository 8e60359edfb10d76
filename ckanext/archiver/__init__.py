"""ckanext-archiver: whether a person can still get each file of a portal, since when not, and why; and a copy.

Start reading at ``archiving.archive_resource``, the path of one resource. ``queue.enqueue`` puts requests into the
table, ``queue.dispatch`` sends them to the workers, ``engine.fetch.fetch`` fetches a link, ``verdict.judge`` decides
what is said about it.
"""

__version__ = "3.0.0"
