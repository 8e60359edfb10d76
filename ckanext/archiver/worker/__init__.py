"""The worker processes. ``celery -A ckanext.archiver.worker worker -Q priority`` finds ``app`` here and reads
``CKAN_INI``; ``ckan archiver worker`` starts the same app inside a loaded CKAN."""

from __future__ import annotations

from ckanext.archiver.queue.celery_app import app

__all__ = ["app"]
