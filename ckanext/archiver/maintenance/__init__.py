"""Maintenance by operators: forget, count, move and remove cached copies.

Nothing here follows a symbolic link out of the archive directory, and each function can be run again after an
interruption. A long function is a generator that yields after each step, so that its caller can show progress.
"""

from __future__ import annotations

from ckanext.archiver.maintenance.files import Copy, OutsideArchiveError, Step, copies, remove_copy
from ckanext.archiver.maintenance.forgetting import clean_cached_resources, clean_status, count_cached
from ckanext.archiver.maintenance.layout import count_old_dirs, migrate_archive_dirs
from ckanext.archiver.maintenance.orphans import copies_of_deleted, delete_orphans, missing_copies, orphans
from ckanext.archiver.maintenance.sizes import GROUPS, SizeClass, delete_larger_than, larger_than, size_report, sizes_by

__all__ = [
    "GROUPS",
    "Copy",
    "OutsideArchiveError",
    "SizeClass",
    "Step",
    "clean_cached_resources",
    "clean_status",
    "copies",
    "copies_of_deleted",
    "count_cached",
    "count_old_dirs",
    "delete_larger_than",
    "delete_orphans",
    "larger_than",
    "migrate_archive_dirs",
    "missing_copies",
    "orphans",
    "remove_copy",
    "size_report",
    "sizes_by",
]
