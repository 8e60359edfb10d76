"""The entry point ``ckan.celery_task``: the worker imports the modules that each extension lists in it."""

from __future__ import annotations


def task_imports() -> list[str]:
    """Modules that define Celery tasks."""
    return ["ckanext.archiver.tasks"]
