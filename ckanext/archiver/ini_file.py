"""The section ``[app:celery]`` of CKAN's configuration file, which CKAN itself does not read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from configparser import ConfigParser, Error, InterpolationError
from urllib.parse import quote

import ckan.plugins.toolkit as tk

from ckanext.archiver.errors import ConfigError


def celery_section() -> Mapping[str, str]:
    """The options of [app:celery], with lower-case names; empty without such a section.

    A file that this one builds on (``use = config:other.ini``) counts as well, as it does for CKAN's own options.

    :raises ConfigError: a file cannot be parsed
    """
    options: dict[str, str] = {}
    path = tk.config.get("__file__")
    while path:
        parser = ConfigParser({"here": os.path.dirname(path)}, strict=False)
        try:
            parser.read(path, encoding="utf-8")
            options = {**_items(parser, "app:celery"), **options}
            scheme, _, other = _items(parser, "app:main").get("use", "").partition(":")
        except Error as e:
            raise ConfigError(f"[app:celery] of {path} cannot be read: {e}") from e
        # Files that refer to each other in a circle do not get here: CKAN refuses them.
        path = os.path.join(os.path.dirname(path), other) if scheme == "config" else None
    return options


def misplaced(prefix: str) -> Iterator[tuple[str, str]]:
    """(option, section) of the options in CKAN's configuration file that CKAN does not read, because they are in
    another section: as those that were added at the file's end.

    :param prefix: what the names of the options begin with
    """
    parser = ConfigParser({}, strict=False)
    try:
        parser.read(tk.config.get("__file__") or (), encoding="utf-8")
    except Error:
        return  # CKAN refuses it itself
    for section in set(parser.sections()) - {"app:main"}:
        own = set(parser[section]) - set(parser.defaults())
        yield from ((name, section) for name in sorted(own) if name.startswith(prefix))


def _items(parser: ConfigParser, section: str) -> dict[str, str]:
    options = {}
    for name in parser[section] if parser.has_section(section) else ():
        try:
            options[name] = parser.get(section, name)
        except InterpolationError:
            # A password with a "%" that is not doubled.
            options[name] = parser.get(section, name, raw=True)
    return options


def celery_brokers() -> Iterator[tuple[str, str]]:
    """(where it is set, URL) of the brokers that [app:celery] can name, best first; the URL is empty where it is not
    set.

    :raises ConfigError: a file cannot be parsed
    """
    section = celery_section()
    for name in ("broker_url", "celery_broker_url"):
        yield f"{name.upper()} in [app:celery]", section.get(name, "").strip()
    yield "BROKER_HOST in [app:celery]", _broker_of_parts(section)


def _broker_of_parts(section: Mapping[str, str]) -> str:
    """``BROKER_HOST`` holds a whole URL (``redis://localhost/1``), or a host name beside other options."""
    host = section.get("broker_host", "").strip()
    if not host or "://" in host:
        return host
    transport = section.get("broker_transport") or section.get("broker_backend") or "redis"
    user, password = (quote(section.get(f"broker_{name}", ""), safe="") for name in ("user", "password"))
    login = f"{user}:{password}@" if user or password else ""
    port = f":{section['broker_port']}" if section.get("broker_port") else ""
    return f"{transport}://{login}{host}{port}/{section.get('broker_vhost', '')}"
