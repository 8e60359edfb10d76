"""The state of the archiver, collected once for all checks of a run: it counts the links, which takes a second at
1,000,000."""

from __future__ import annotations

import functools

from ckanext.archiver import monitoring


@functools.lru_cache(maxsize=1)
def current() -> monitoring.Status:
    """What ``ckan archiver status`` knows; :func:`forget` begins a new run."""
    return monitoring.collect()


def forget() -> None:
    """Have the next call of :func:`current` collect it anew."""
    current.cache_clear()
