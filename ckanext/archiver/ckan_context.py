"""CKAN around a Celery task: the application context, and database sessions that do not outlive it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ckan.plugins.toolkit as tk
from celery import Task
from ckan import model
from flask import Flask, has_app_context

from ckanext.archiver.errors import ConfigError

_flask_app: Flask | None = None


def use(flask_app: Flask) -> None:
    """Remember the application of the CKAN that is loaded."""
    global _flask_app
    _flask_app = flask_app


def ensure_ckan(ini_path: str | None) -> None:
    """Load CKAN, unless it is.

    :param ini_path: its configuration file
    :raises ConfigError: when CKAN is not loaded and no file was named
    """
    if model.meta.engine is not None:
        return
    if not ini_path:
        raise ConfigError("Set CKAN_INI to the path of CKAN's configuration file.")
    from ckan.cli import load_config
    from ckan.config.middleware import make_app

    use(make_app(load_config(ini_path))._wsgi_app)


@contextlib.contextmanager
def ckan_context() -> Iterator[None]:
    """An application and request context, for code that calls actions or makes URLs.

    In a web request, a command or a test there is one already.
    """
    if has_app_context() or _flask_app is None:
        yield
        return
    with _flask_app.test_request_context(base_url=tk.config.get("ckan.site_url")):
        yield


class ArchiverTask(Task):
    """Base of our tasks: each runs on a database session of its own (threads would inherit a stale one)."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            # A synchronous call from other code, or a test: the session is the caller's.
            return self.run(*args, **kwargs)
        model.Session.remove()
        try:
            return self.run(*args, **kwargs)
        finally:
            model.Session.remove()
