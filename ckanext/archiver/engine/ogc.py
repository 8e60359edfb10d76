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

STATUSES = frozenset({400, 422, 500, 501})
"""The statuses with which services respond to the bare address: GeoServer 400, others 500 or any of these."""


@dataclass(frozen=True)
class Quirk:
    """How one kind of service is recognised and asked.

    :ivar formats: declared formats that mean it, lower-case
    :ivar path: what in the URL's path means it
    :ivar ask: the parameters of the request
    """

    service: str
    formats: frozenset[str]
    path: re.Pattern[str]
    ask: tuple[tuple[str, str], ...]


def _quirk(service: str, *formats: str) -> Quirk:
    names = frozenset({service.lower(), f"ogc {service.lower()}", f"ogc:{service.lower()}", *formats})
    return Quirk(
        service,
        names,
        # A whole word of the path: "/geoserver/wms", "/cgi-bin/mapserv-wfs", "WMSServer", "wfs.ashx"
        re.compile(rf"(?:^|[/_.\-]){service}(?:server|service)?(?=$|[/_.\-])", re.IGNORECASE),
        (("SERVICE", service), ("REQUEST", "GetCapabilities")),
    )


QUIRKS: tuple[Quirk, ...] = (
    _quirk("WMS", "wms_srvc", "web map service", "application/vnd.ogc.wms_xml"),
    _quirk("WFS", "wfs_srvc", "web feature service", "application/vnd.ogc.wfs_xml"),
    _quirk("WMTS", "web map tile service"),
    _quirk("WCS", "web coverage service"),
    _quirk("CSW", "catalog service for the web", "csw service"),
    _quirk("WPS", "web processing service"),
    _quirk("SOS", "sensor observation service"),
)

# ArcGIS sends its errors in the body of a 200 as well, but needs no second request: its bare address is a page.
_ARCGIS = re.compile(r"/rest/services(?:/|$)|/(?:Map|Feature|Image)Server(?:/|$)", re.IGNORECASE)


def is_service(url: str, format: str) -> bool:
    """Whether URL or format mean a service: its errors come with 200, so the response to HEAD is not conclusive."""
    return _quirk_of(url, format) is not None or _ARCGIS.search(urlsplit(url).path) is not None


def complete(url: str, format: str) -> str | None:
    """The address completed to a request for the capabilities.

    :param url: as in ``urls.Target.url``
    :returns: None if it is not an OGC service, or has a REQUEST already
    """
    quirk = _quirk_of(url, format)
    parts = urlsplit(url)
    present = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if quirk is None or "request" in present:
        return None
    missing = "&".join(f"{name}={value}" for name, value in quirk.ask if name.lower() not in present)
    # The existing query stays as it is, byte for byte: MapServer's ?map=... must come first.
    glue = "" if parts.query.endswith("&") or (url.endswith("?") and not parts.query) else "&" if parts.query else "?"
    return url + glue + missing


def _quirk_of(url: str, format: str) -> Quirk | None:
    """By the URL's own SERVICE, else by the declared format, else by the path."""
    parts = urlsplit(url)
    named = {value.lower() for name, value in parse_qsl(parts.query) if name.lower() == "service"}
    word = format.strip().lower()
    by_service = (quirk for quirk in QUIRKS if quirk.service.lower() in named)
    by_format = (quirk for quirk in QUIRKS if word in quirk.formats)
    by_path = (quirk for quirk in QUIRKS if quirk.path.search(parts.path))
    return next(itertools.chain(by_service, by_format, by_path), None)
