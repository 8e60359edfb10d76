"""OGC services, as a table of quirks: what to ask when the bare URL of one is in the catalogue."""

from __future__ import annotations

# Statuses with which servers answer a bare URL: GeoServer 400, others as they like.
STATUSES = frozenset({400, 422, 500, 501})


def complete(url: str, format: str) -> str | None:
    """The URL with the parameters that make it a proper question; None if it is no bare OGC URL."""
    return None


def is_service(url: str, format: str) -> bool:
    """Whether URL or format says OGC service (or ArcGIS): only a body tells whether such a one works."""
    return False
