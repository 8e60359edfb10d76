"""The former place of :func:`ckanext.archiver.engine.fetch.fetch`, for callers that still import it from here."""

from __future__ import annotations

from .fetch import fetch

__all__ = ["fetch"]
