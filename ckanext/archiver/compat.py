"""Differences between CKAN's versions."""

from __future__ import annotations

import ckan.plugins.toolkit as tk


def update_compares() -> bool:
    """Whether package_update compares what it is given with package_show, and saves only the differences (2.12)."""
    return bool(tk.check_ckan_version(min_version="2.12"))
