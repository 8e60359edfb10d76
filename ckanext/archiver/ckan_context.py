"""CKAN around a Celery task: the application context, and a database session that ends with the task."""

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
    """Use the application of a CKAN that is loaded already."""
    global _flask_app
    _flask_app = flask_app


def ensure_ckan(ini_path: str | None) -> None:
    """Load CKAN, unless it is loaded.

    :param ini_path: its configuration file
    :raises ConfigError: when CKAN is not loaded and no file was named
    """
    if model.meta.engine is not None:
        return
    if not ini_path:
        raise ConfigError("Set CKAN_INI to the path of CKAN's configuration file.")
    # Not above: both load the whole web application, which a process with a loaded CKAN need not do again.
    from ckan.cli import load_config
    from ckan.config.middleware import make_app

    use(make_app(load_config(ini_path))._wsgi_app)


@contextlib.contextmanager
def ckan_context() -> Iterator[None]:
    """An application and request context, for code that calls actions or makes URLs.

    A web request, a command and a test have one already.
    """
    if has_app_context() or _flask_app is None:
        yield
        return
    with _flask_app.test_request_context(base_url=tk.config.get("ckan.site_url")):
        yield


class ArchiverTask(Task):
    """Base of the tasks: each runs on a database session of its own (a thread would inherit a stale one)."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            # A synchronous call of other code, or of a test: the session is the caller's.
            return self.run(*args, **kwargs)
        model.Session.remove()
        try:
            return self.run(*args, **kwargs)
        finally:
            model.Session.remove()
