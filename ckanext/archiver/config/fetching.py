"""Options of fetching: what a fetch may cost, and where it may go."""

from __future__ import annotations

import ssl

import ckan.plugins.toolkit as tk

from ckanext.archiver import __version__
from ckanext.archiver.config.archive import min_free_bytes
from ckanext.archiver.engine import addresses, urls
from ckanext.archiver.engine.outcome import Limits, Policy
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.options import (
    MAX_BYTES,
    PREFIX,
    boolean,
    integer,
    option,
    scheme,
    seconds,
    text,
    without_password,
)


def user_agent() -> str:
    """The ``User-Agent`` header; one line of printable ASCII."""
    agent = text("user_agent_string")
    if not agent:
        return _own_name()
    if not (agent.isascii() and agent.isprintable()):
        raise ConfigError(f"{PREFIX}user_agent_string must be one line of plain ASCII text, not {agent!r}.")
    return agent


def _own_name() -> str:
    """``ckanext-archiver/<version> (+<site_url>; <contact>)``: firewalls weigh a "Mozilla" against all but browsers."""
    site = urls.normalise(text("ckan.site_url"))
    words = str(tk.config.get("email_to") or "").replace(",", " ").split()
    contact = [word for word in words[:1] if word.isascii() and word.isprintable()]
    about = ([] if isinstance(site, urls.BadUrl) else ["+" + site.url.rstrip("/")]) + contact
    return f"ckanext-archiver/{__version__}" + (f" ({'; '.join(about)})" if about else "")


@option
def limits() -> Limits:
    """How much one fetch may cost."""
    return Limits(
        max_content_length=integer("max_content_length", 1, MAX_BYTES),
        max_ratio=integer("max_ratio"),
        max_header_bytes=integer("max_header_bytes", 1024),
        max_headers=integer("max_headers"),
        max_redirects=integer("max_redirects", 0),
        connect_timeout=seconds("connect_timeout", 1),
        first_byte_timeout=seconds("first_byte_timeout", 1),
        read_timeout=seconds("read_timeout", 1),
        floor_rate=integer("floor_rate", 0, zero_means="no floor"),
        floor_seconds=seconds("floor_seconds", 1),
        total_timeout=seconds("total_timeout", 1),
        min_free_bytes=min_free_bytes(),
    )


@option
def policy() -> Policy:
    """Which addresses fetches may connect to, and how they identify themselves."""
    allowed = tuple(text("allowed_addresses").replace(",", " ").split())
    try:
        addresses.Guard(allowed)
    except ValueError as e:
        raise ConfigError(f"{PREFIX}allowed_addresses: {e}") from e
    return Policy(
        user_agent=user_agent(),
        allowed_addresses=allowed,
        verify_https=boolean("verify_https"),
        ca_bundle=_ca_bundle(),
        allow_ftp=boolean("allow_ftp"),
        proxy=proxy(),
    )


def _ca_bundle() -> str | None:
    path = text("ca_bundle")
    if not path:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path
        raise ConfigError(f"{PREFIX}ca_bundle must be a file of PEM certificates, not {path!r}: {e}.") from e
    return path


def proxy() -> str | None:
    """``ckan.download_proxy``: the operator's own proxy, which then decides which addresses are allowed."""
    url = text("ckan.download_proxy")
    if url and scheme(url) != "http":
        raise ConfigError(f"ckan.download_proxy must start with http://, not {without_password(url)!r}.")
    return url or None


def site_url() -> str:
    """The portal's public URL, with ``ckan.root_path`` but without a language, without a trailing slash."""
    root = text("ckan.root_path").replace("/{{LANG}}", "").rstrip("/")
    return text("ckan.site_url").rstrip("/") + root


@option
def site_url_internally() -> str:
    """The URL at which workers reach CKAN for uploads that a plugin stores, without a trailing slash."""
    url = text("ckan.site_url_internally").rstrip("/")
    if url and scheme(url) not in ("http", "https"):
        raise ConfigError(f"ckan.site_url_internally must start with http:// or https://, not {url!r}.")
    return url or text("ckan.site_url").rstrip("/")
