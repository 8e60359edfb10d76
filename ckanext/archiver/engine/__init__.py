"""The engine: one URL in, one :class:`~ckanext.archiver.engine.outcome.Outcome` out.

Nothing in this package imports CKAN, Celery or the database, so it can be tested, fuzzed and used alone
(``ckan archiver check URL`` is the engine and nothing else). Start reading at ``fetch.fetch``.
"""
