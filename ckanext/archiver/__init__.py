"""ckanext-archiver records whether people can still get each file of a portal and, if not, since when and why.
It also keeps a copy.

Start reading at ``archiving.archive_resources``, the loop over the resources of a message. ``queue.enqueue``
puts requests into the table, ``queue.dispatch`` sends them to the workers, ``engine.fetch.fetch`` fetches a link,
``verdict.judge`` decides what is said about it.
"""

__version__ = "3.0.0"
