"""OGC services, as a table of quirks: the request to send when the catalogue has only the bare address of a service.

Catalogues hold the addresses that a map program needs ("https://maps.example/wms"). In a browser they give an error
although the service works. So where format or URL identifies the service, one more request asks for its capabilities,
which every such service must provide (OGC 06-121r9 §7).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from . import pages

STATUSES = frozenset({400, 404, 405, 411, 422, 500, 501})
"""The statuses with which services respond to the bare address: GeoServer 400, others 500 or any of these."""

DETAILS = frozenset({"soft-service-exception", "soft-service-failure", "soft-empty", "soft-no-content"})
"""The same for good statuses: an exception that asks for parameters, or nothing."""


@dataclass(frozen=True)
class Quirk:
    """How one kind of service is recognised and asked.

    :ivar formats: declared formats that mean it without naming it, lower-case
    :ivar word: its name as a word of a format or a message
    :ivar path: what in the URL's path means it
    :ivar ask: the parameters of the request
    """

    service: str
    formats: frozenset[str]
    word: re.Pattern[str]
    path: re.Pattern[str]
    ask: tuple[tuple[str, str], ...]


def _quirk(service: str, *formats: str, path: str = "") -> Quirk:
    # A whole word of the path: "/geoserver/wms", "/cgi-bin/mapserv-wfs", "WMSServer", "wfs.ashx"
    word = rf"(?:^|[/_.\-]){service}(?:server|service)?(?=$|[/_.\-])"
    return Quirk(
        service,
        frozenset(formats),
        # A whole word of the format: "WMS", "OGC:WMS-1.3.0-http-get-map", "WMS/WFS", "wms_srvc", "wms_xml"
        re.compile(rf"(?<![a-z]){service}(?![a-z])", re.IGNORECASE),
        re.compile(rf"{word}|{path}" if path else word, re.IGNORECASE),
        (("SERVICE", service), ("REQUEST", "GetCapabilities")),
    )


QUIRKS: tuple[Quirk, ...] = (
    # The bare address of GeoServer and MapServer is that of all their services; WMS is the one that all of them have.
    _quirk(
        "WMS",
        "web map service",
        "map",
        "mapserver",
        "ows",
        path=r"/ows/?$|/mapserv(?:er)?(?:\.exe|\.f?cgi)?/?$|/qgis_mapserv",
    ),
    _quirk("WFS", "web feature service"),
    _quirk("WMTS", "web map tile service"),
    _quirk("WCS", "web coverage service"),
    _quirk("CSW", "catalog service for the web", "csw service"),
    _quirk("WPS", "web processing service"),
    _quirk("SOS", "sensor observation service"),
)

# ArcGIS sends its errors in the body of a 200 as well, but needs no second request: its bare address is a page.
_ARCGIS = re.compile(r"/rest/services(?:/|$)|/(?:Map|Feature|Image)Server(?:/|$)", re.IGNORECASE)
_CAPABILITIES = re.compile(
    pages.PROLOGUE + rb"(?:<!DOCTYPE[^>\[]{0,500}(?:\[[^\]]{0,5000}\]\s*)?>\s*)?(<(?:[A-Za-z_][\w.-]{0,40}:)?"
    rb"(?:\w{0,20}_?Capabilities|Capabilities)\b[^>]{0,3000})",
    re.DOTALL,
)
_VERSION = re.compile(rb"\sversion\s*=\s*[\"'](\d+\.\d+)(\.[1-9]\d*)?")


def is_service(url: str, format: str) -> bool:
    """Whether URL or format mean a service: its errors come with 200, so the response to HEAD is not conclusive."""
    return quirk_of(url, format) is not None or _ARCGIS.search(urlsplit(url).path) is not None


def complete(url: str, quirk: Quirk) -> str | None:
    """The address completed to a request for the capabilities.

    :param url: as in ``urls.Target.url``
    :returns: None if it has a REQUEST already
    """
    parts = urlsplit(url)
    present = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if "request" in present:
        return None
    missing = "&".join(f"{name}={value}" for name, value in quirk.ask if name.lower() not in present)
    # The existing query stays as it is, byte for byte: MapServer's ?map=... must come first.
    glue = "" if parts.query.endswith("&") or (url.endswith("?") and not parts.query) else "&" if parts.query else "?"
    return url + glue + missing


def quirk_of(url: str, format: str) -> Quirk | None:
    """By the URL's own SERVICE, else by the declared format, else by the path."""
    parts = urlsplit(url)
    named = {value.lower() for name, value in parse_qsl(parts.query) if name.lower() == "service"}
    word = format.strip().lower()
    by_service = (quirk for quirk in QUIRKS if quirk.service.lower() in named)
    by_format = (quirk for quirk in QUIRKS if word and (word in quirk.formats or quirk.word.search(word)))
    by_path = (quirk for quirk in QUIRKS if quirk.path.search(parts.path))
    return next(itertools.chain(by_service, by_format, by_path), None)


def quirk_of_message(message: str) -> Quirk:
    """The service that an exception without any other sign names; WMS if it names none."""
    return next((quirk for quirk in QUIRKS if quirk.word.search(message)), QUIRKS[0])


def is_capabilities(first: bytes) -> bool:
    """Whether the beginning of a body is what was asked for."""
    return _CAPABILITIES.match(pages.utf8(first)) is not None


def label(quirk: Quirk, first: bytes) -> str:
    """A service and its version, as in "WMS 1.3" and "WMS 1.1.1"."""
    root = _CAPABILITIES.match(pages.utf8(first))
    version = _VERSION.search(root[1]) if root else None
    return f"{quirk.service} {(version[1] + (version[2] or b'')).decode()}" if version else quirk.service
