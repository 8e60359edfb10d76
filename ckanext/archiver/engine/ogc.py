"""OGC services, as a table of quirks: what to ask when the catalogue has only a service's bare address.

Catalogues hold the addresses that a map program wants ("https://maps.example/wms"). A person's browser gets
an error there, and the service is well. So where format or URL says what service it is, one more request asks
it for its capabilities, which every such service must be able to tell (OGC 06-121r9 §7).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

STATUSES = frozenset({400, 422, 500, 501})
"""With which services answer the bare address: GeoServer 400, others 500, some what they like."""


@dataclass(frozen=True)
class Quirk:
    """How one kind of service is recognised and asked.

    :ivar formats: declared formats that say it, lower-case
    :ivar path: what in the URL's path says it
    :ivar ask: the parameters of the question
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

# ArcGIS answers 200 with its errors in the body as well, but needs no second question: a bare address is a
# page.
_ARCGIS = re.compile(r"/rest/services(?:/|$)|/(?:Map|Feature|Image)Server(?:/|$)", re.IGNORECASE)


def is_service(url: str, format: str) -> bool:
    """Whether it is a service by URL or format: its errors come with 200, so a HEAD tells nothing."""
    return _quirk_of(url, format) is not None or _ARCGIS.search(urlsplit(url).path) is not None


def complete(url: str, format: str) -> str | None:
    """The address with the parameters that make it a question.

    :param url: as in ``urls.Target.url``
    :returns: None if it is no OGC service, or already has a REQUEST and so was a question
    """
    quirk = _quirk_of(url, format)
    parts = urlsplit(url)
    given = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if quirk is None or "request" in given:
        return None
    missing = "&".join(f"{name}={value}" for name, value in quirk.ask if name.lower() not in given)
    # What is there stays as it is, byte for byte: MapServer's ?map=... must come first.
    glue = "" if parts.query.endswith("&") or (url.endswith("?") and not parts.query) else "&" if parts.query else "?"
    return url + glue + missing


def _quirk_of(url: str, format: str) -> Quirk | None:
    """The URL's own SERVICE says most, then the declared format, then the path."""
    parts = urlsplit(url)
    named = {value.lower() for name, value in parse_qsl(parts.query) if name.lower() == "service"}
    word = format.strip().lower()
    by_service = (quirk for quirk in QUIRKS if quirk.service.lower() in named)
    by_format = (quirk for quirk in QUIRKS if word in quirk.formats)
    by_path = (quirk for quirk in QUIRKS if quirk.path.search(parts.path))
    return next(itertools.chain(by_service, by_format, by_path), None)
