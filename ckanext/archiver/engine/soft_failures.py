"""Responses with status 200 that are not the file: one rule for each kind, with how certain it is.

Only two kinds are certain, because in them the service itself reports in its own protocol that the request failed: an
OGC exception report and an ArcGIS error. The others are flagged and never called broken (see ``verdict.DETAIL_RULES``).
"""

from __future__ import annotations

import html
import json
import re
from urllib.parse import urlsplit

from .failure import Failure
from .outcome import Cause

MAX_TEXT = 200
"""Characters of the remote's own words that are shown."""

# Formats that promise a file of data. Not here: services and pages (API, WMS, HTML ...), where a page may be meant, and
# words without a definition.
DATA_FORMATS = frozenset(
    # tables, documents
    ["csv", "tsv", "xls", "xlsx", "xlsb", "xlsm", "ods", "odt", "odp", "doc", "docx", "ppt", "pptx", "pdf", "px"]
    # structured and linked data
    + ["json", "jsonl", "ndjson", "xml", "yaml", "rdf", "ttl", "turtle", "n3", "nt", "nq", "trig", "owl", "json-ld"]
    + ["jsonld", "n-triples", "n-quads", "xsd", "sdmx", "iati", "rss", "atom", "ics", "ical", "gtfs", "netex"]
    # maps and scientific data
    + ["geojson", "topojson", "gml", "kml", "kmz", "gpx", "shp", "shapefile", "gpkg", "geopackage", "tif", "tiff"]
    + ["geotiff", "dwg", "dxf", "las", "laz", "mbtiles", "nc", "netcdf", "hdf", "hdf5", "grib", "parquet", "avro"]
    # archives, databases, media
    + ["zip", "gz", "gzip", "7z", "rar", "tar", "tgz", "bz2", "mdb", "accdb", "dbf", "sqlite", "sav", "dta", "txt"]
    + ["jpg", "jpeg", "png", "gif", "svg", "mp3", "mp4", "wav"]
)

# Byte order mark, blanks, comments, processing instructions. Each matches in one way only: with ".*?" a thousand
# comments would match in 2**1000 ways, and a server that sends them would hold a worker for ever.
_PROLOGUE = rb"(?:\xef\xbb\xbf)?(?:\s|<!--(?:(?!-->).)*-->|<\?(?:(?!\?>).)*\?>)*"
_HTML_START = re.compile(
    _PROLOGUE + rb"<(?:!doctype\s+html\b|html[\s>]|head[\s>]|body[\s>]|title[\s>])",
    re.IGNORECASE | re.DOTALL,
)
_TITLE = re.compile(rb"<(title|h1)\b[^>]{0,300}>(.{0,300}?)</\1\s{0,9}>", re.IGNORECASE | re.DOTALL)
# Office programs save and open tables and texts as pages with this namespace; many ".xls" files are such pages.
_OFFICE_FORMATS = frozenset({"xls", "xlsx", "xlsb", "xlsm", "doc", "docx"})
_OFFICE_PAGE = re.compile(rb"urn:schemas-microsoft-com:office:(?:excel|word|office)")
_FRONT_PAGE = re.compile(r"(?:index|default|home)\.(?:s?html?|php\d?|aspx?|jsp|cfm)", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")

# The titles of pages that stand for a missing file: whole phrases, because "404" alone may be a bus line and "error" a
# topic. Medium confidence. The phrases are those that servers and content systems ship with (IIS, Apache, Drupal,
# WordPress, SharePoint, TYPO3), in the languages of the larger portals.
_NOT_FOUND = re.compile(
    r"\b(?:error|fehler|erreur|errore|http|status)\W{0,3}404\b"
    r"|\b404\W{0,3}(?:error|not found|page not found|file not found|nicht gefunden|fehler|file or directory)"
    r"|^\W*404\W*$"
    r"|\b(?:page|file|document|resource|dataset)\s+(?:(?:was|is|could|can)\s*)?(?:not|n['’]t)\s+(?:be\s+)?found\b"
    r"|^\W*not found\W*$"
    r"|\b(?:page|file|document|resource)\s+(?:does\s+not|doesn't|no longer)\s+exists?\b"
    r"|\bseite\s+(?:wurde\s+)?nicht\s+gefunden\b|\bdatei\s+(?:wurde\s+)?nicht\s+gefunden\b"
    r"|\bpage\s+(?:non\s+trouvée|introuvable)\b|\bfichier\s+(?:non\s+trouvé|introuvable)\b"
    r"|\bpágina\s+no\s+encontrada\b|\bpágina\s+não\s+encontrada\b|\bpagina\s+non\s+trovata\b"
    r"|\bpagina\s+niet\s+gevonden\b|\bsidan\s+(?:hittades\s+inte|kunde\s+inte\s+hittas)\b|\bsivua\s+ei\s+löydy\b"
    r"|\bsiden\s+blev\s+ikke\s+fundet\b|\bnie\s+znaleziono\s+strony\b|\bстраница\s+не\s+найдена\b",
    re.IGNORECASE,
)

# OGC: WMS 1.1.1 annex A.3 (ServiceExceptionReport), OWS Common 06-121r9 §8 (ExceptionReport); older servers send a bare
# ServiceException. Certain: no data begins like this.
_EXCEPTION_ROOT = re.compile(
    _PROLOGUE + rb"(?:<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>" + _PROLOGUE + rb")?"
    rb"<(?:[A-Za-z_][\w.-]*:)?(?:ServiceExceptionReport|ExceptionReport|ServiceException)\b",
    re.DOTALL,
)
_EXCEPTION_TEXT = re.compile(
    rb"<(?:[\w.-]{1,40}:)?(?:ServiceException|ExceptionText)\b[^>]{0,300}>"
    rb"(?:\s{0,99}<!\[CDATA\[)?(.{0,1000}?)(?:\]\]>\s{0,99})?</",
    re.DOTALL,
)
_EXCEPTION_CODE = re.compile(rb"\b(?:exceptionCode|code)\s*=\s*[\"']([^\"']*)[\"']")

# ArcGIS REST API, "Handling errors": {"error": {"code": 400, "message": ..., "details": [...]}}, always with status
# 200. Certain, if code and message are present.
_ARCGIS_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{\s*\"error\"\s*:\s*\{")
_ARCGIS_CODE = re.compile(rb"\"code\"\s*:\s*(-?\d{1,6})")
_ARCGIS_MESSAGE = re.compile(rb"\"message\"\s*:\s*\"((?:[^\"\\]|\\.)*)\"")
_ARCGIS_LOGIN = frozenset({401, 403, 498, 499})  # 498 invalid token, 499 token required


def is_data(format: str) -> bool:
    """Whether a declared format of whatever spelling ("CSV", ".csv", "text/csv") promises a file of data."""
    return _plain_format(format) in DATA_FORMATS


def _plain_format(format: str) -> str:
    word = format.strip().lower().lstrip(".")
    if "/" in word:
        word = word.partition(";")[0].strip().rpartition("/")[2].removeprefix("x-")
        word = {"ld+json": "json", "geo+json": "geojson", "rdf+xml": "rdf", "plain": "txt"}.get(word, word)
    return word


def looks_like_html(first: bytes) -> bool:
    """Whether data is the beginning of a page, by its own tags (a Content-Type is often a default)."""
    return _HTML_START.match(first) is not None


def failure_of_body(first: bytes, whole: bool, url: str, final_url: str, format: str) -> Failure | None:
    """The failure that the first bytes of a body show although the status is good; None if they show none.

    :param first: the beginning of the body, decoded
    :param whole: whether that is the whole body
    :param url: the link, normalised
    :param final_url: where its redirects led
    :param format: as the publisher declared it, may be empty
    """
    if whole and not first.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        return Failure(Cause.SOFT_404, "soft-empty")
    failure = _service_exception(first) or _arcgis_error(first)
    if failure or not looks_like_html(first):
        return failure
    # High confidence: a browser would show it as a page as well. Not certain, since the page may contain the data.
    if is_data(format):
        if _plain_format(format) in _OFFICE_FORMATS and _OFFICE_PAGE.search(first[:4_096]):
            return None
        return Failure(Cause.SOFT_404, "soft-html", format=format.strip()[:40])
    if _led_to_root(url, final_url):
        return Failure(Cause.SOFT_404, "soft-root", host=urlsplit(final_url).hostname or "")
    return _not_found_page(first)


def _service_exception(first: bytes) -> Failure | None:
    if not _EXCEPTION_ROOT.match(first):
        return None
    text = _EXCEPTION_TEXT.search(first)
    message = _plain(text[1]) if text else ""
    code = _EXCEPTION_CODE.search(first)
    message = message or (_shown(code[1].decode("utf-8", "replace")) if code else "") or "no reason given"
    return Failure(Cause.SOFT_404, "soft-service-exception", message=message)


def _arcgis_error(first: bytes) -> Failure | None:
    if not _ARCGIS_START.match(first):
        return None
    found = _ARCGIS_CODE.search(first)
    text = _ARCGIS_MESSAGE.search(first)
    if not found or not text:
        return None
    code = int(found[1])
    if code in _ARCGIS_LOGIN:
        return Failure(Cause.BLOCKED, "arcgis-login", code=code)
    try:
        message = str(json.loads(b'"' + text[1] + b'"'))
    except ValueError:
        message = text[1].decode("utf-8", "replace")
    detail = "soft-arcgis-failure" if code >= 500 else "soft-arcgis-error"
    return Failure(Cause.SOFT_404, detail, code=code, message=_shown(message) or "no reason given")


def _led_to_root(url: str, final_url: str) -> bool:
    """Whether a deep link ends at a front page. Medium confidence: sites redirect links to removed files there.

    A short path on another site does not count: that is how URL shorteners work. "/index.html" is the front page.
    """
    old, new = urlsplit(url), urlsplit(final_url)
    if new.path not in ("", "/") or new.query:
        return False
    path = old.path.strip("/")
    if _FRONT_PAGE.fullmatch(path):
        return False
    deep = "/" in path or "." in path or bool(old.query)
    return bool(path) and (deep or _site(old.hostname) == _site(new.hostname))


def _site(host: str | None) -> str:
    return (host or "").lower().removeprefix("www.")


def _not_found_page(first: bytes) -> Failure | None:
    for _, raw in _TITLE.findall(first):
        title = _plain(raw)
        if _NOT_FOUND.search(title):
            return Failure(Cause.SOFT_404, "soft-not-found-page", title=title)
    return None


def _plain(markup: bytes) -> str:
    """The text of a piece of markup; it is cut first, because the patterns are not linear."""
    return _shown(html.unescape(_TAG.sub(" ", markup[: 10 * MAX_TEXT].decode("utf-8", "replace"))))


def _shown(text: str) -> str:
    """One line of visible characters, not too long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 10 * MAX_TEXT]).split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"
