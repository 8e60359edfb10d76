"""Whether what came is what was promised: one pure function, :func:`judge`.

Promised is the declared format; without one, the extension of the URL, the name in Content-Disposition, and what the
previous good copy was. What came is known by its own bytes (signature, tags, text in any encoding) and by its declared
media type. Three answers are possible: it fits, it does not fit, or nothing can be said, which counts as fitting.

Publishers are sloppy with formats, so only what failures look like does not fit: a page, a message in JSON or XML, or a
line of text where data was promised. A CSV under the format ZIP, or a zip under the format CSV, is the publisher's
file.
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from . import formats, media_types, pages

# Extensions by which a URL or a name promises data. Others say how a response was made (".php"), or nothing.
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,10})$")

# Office programs save and open tables and texts as pages with this namespace; many ".xls" files are such pages.
_OFFICE_PAGE = re.compile(rb"urn:schemas-microsoft-com:office:(?:excel|word|office)")
_EXCEL_TYPES = frozenset({"application/vnd.ms-excel", "application/msexcel", "application/msword"})
_TABLE_START = re.compile(
    pages.PROLOGUE + rb"(?:<(?:html|body|head|meta)\b[^>]{0,300}>\s*){0,6}<table\b", re.IGNORECASE
)
_XML_START = re.compile(pages.PROLOGUE + rb"<(?:[A-Za-z_][\w.-]{0,40}:)?([A-Za-z_][\w.-]{0,60})[\s/>]", re.DOTALL)
_XML_ERROR_ROOTS = frozenset(b"error errors fault exception errorresponse response-error errormessage".split())
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{]")
_DELIMITERS = (b",", b";", b"\t", b"|")

# What short texts say when they stand in the place of a file: whole messages, not words within data.
_MESSAGE = re.compile(
    r"(?:4\d\d|5\d\d)?\W{0,3}(?:sorry|error|fehler|erreur|not found|file not found|page not found|no such (?:file|key)"
    r"|access denied|forbidden|unauthori[sz]ed|bad request|bad gateway|internal server error|server error"
    r"|invalid |missing "
    r"|service unavailable|gateway time-?out|temporarily unavailable|under maintenance|maintenance|too many requests"
    r"|rate limit|request (?:rejected|blocked|failed)|please (?:wait|try again|log ?in|enable)|an (?:error|exception)"
    r"|(?:the |your |this )?(?:file|export|download|report|data(?:set)?|document|resource|page)\b.{0,40}?\b"
    r"(?:(?:is|are) (?:being|not|no longer|currently|temporarily)|(?:was|were|has been|could|can|does|do)(?: ?not|n.?t)"
    r"|does not exist|no longer exists?|will be (?:ready|available)|(?:was|has been) (?:removed|deleted|moved))"
    r"|(?:d(?:ie|er|as|ieser?) )?(?:datei|seite|export|dokument|datensatz)\b.{0,60}?\b(?:nicht|wird|existiert"
    r"|ist noch)\b"
    r"|(?:le |la |l.)?(?:fichier|page|export|document)\b.{0,60}?\b(?:n.existe|introuvable|en cours|n.est pas|non trouv)"
    r"|(?:el |la )?(?:archivo|fichero|página|recurso)\b.{0,60}?\b(?:no (?:existe|encontrad|se |está)|se está)"
    r"|(?:uncaught )?\w{0,40}(?:exception|error)\b\s*[:(\[]|could not connect|connection (?:refused|failed|timed)"
    r"|unable to "
    r"|cannot |can't |failed to |you (?:must|need to|do not|don't|are not)|(?:null|undefined|ok|false|true)\W*$"
    r"|no (?:data|results?|records?|file)(?: (?:found|available|selected|specified))?\W*$)",
    re.IGNORECASE,
)
_TRACE = re.compile(
    r"<\?php|<%|(?:php )?(?:fatal error|parse error|warning): |traceback \(most recent call|exception in thread"
    r"|[\w.]{3,80}exception: "
    r"|ora-\d{4,5}: |sqlstate\[|microsoft ole db|uncaught ",
    re.IGNORECASE,
)
_ERROR_INSIDE = re.compile(r"\bsqlstate\[|\bora-\d{5}:|access denied for user '|connection refused\W*$", re.IGNORECASE)
_DELIMITER = re.compile(r"[\t;|]|,\S")
_PROSE = frozenset({"txt", "text", "asc", "rtf"})
"""Formats in which a sentence is content."""
# Beginnings of binary formats that are text so far, and formats of text that are not tables.
_SIGNATURES = (
    b"%PDF-",
    b"GIF8",
    b"PK",
    b"Rar!",
    b"7z",
    b"CDF",
    b"PAR1",
    b"Obj",
    b"SQLite",
    b"RIFF",
    b"LASF",
    b"AC10",
    b"{\\rtf",
)
MAX_MESSAGE = 600
"""Bytes: longer texts are documents."""


class Fit(str, enum.Enum):
    """How what came relates to what was promised."""

    FITS = "fits"
    PAGE = "a page instead of data"
    MESSAGE = "a message instead of data"
    CANNOT_SAY = "cannot say"


@dataclass(frozen=True)
class Promise:
    """What a link promises.

    :ivar declared: the format as the publisher declared it, may be empty
    :ivar url: the link; its extension counts
    :ivar name: the file name in Content-Disposition, may be empty
    :ivar kept_mimetype: of the previous good copy of this link, may be empty
    :ivar kept_filename: of the same, may be empty
    """

    declared: str = ""
    url: str = ""
    name: str = ""
    kept_mimetype: str = ""
    kept_filename: str = ""

    @property
    def formats(self) -> tuple[str, ...]:
        """The promised formats of data, the strongest first; empty if no data is promised."""
        words = [formats.plain(self.declared)]
        # Where a page or a service is declared, only the previous copy shows that data is meant.
        if not formats.is_page_or_service(self.declared):
            words += [_of_extension(urlsplit(self.url).path.rpartition("/")[2]), _of_extension(self.name)]
        words += [formats.plain(self.kept_mimetype), _of_extension(self.kept_filename)]
        return tuple(dict.fromkeys(word for word in words if word in formats.DATA))

    @property
    def is_json(self) -> bool:
        """Whether JSON is among what is promised."""
        return not formats.JSON.isdisjoint(self.formats)


def _of_extension(name: str) -> str:
    # ".../wiki/File:Map.png" is a page about a file.
    match = None if ":" in name or "%3A" in name.upper() else _EXTENSION.search(name)
    return match[1].lower() if match else ""


def judge(promise: Promise, first: bytes, whole: bool, content_type: str = "") -> Fit:
    """Whether the beginning of a body fits a promise.

    :param first: the beginning of the body, decoded
    :param whole: whether that is the whole body
    :param content_type: the header, may be empty
    """
    expected = set(promise.formats)
    if not expected:
        return Fit.CANNOT_SAY
    text = pages.utf8(first)
    xml_promised, table_promised = bool(expected & formats.XML), bool(expected & formats.TEXT)
    if is_page(text, content_type, xml_promised=xml_promised, table_promised=table_promised):
        return Fit.FITS if expected & formats.OFFICE and _is_office_page(promise, text, content_type) else Fit.PAGE
    if media_types.is_binary(text) or text.startswith(_SIGNATURES):
        return Fit.CANNOT_SAY
    if _JSON_START.match(text):
        return Fit.FITS if expected & formats.JSON or not (whole and _is_small_object(text)) else Fit.MESSAGE
    root = _XML_START.match(text)
    if root and not (table_promised and _is_table(text)):
        # A short XML where a table was promised is a message; a long one is the publisher's file.
        wrong = whole and len(text) <= MAX_MESSAGE if table_promised else True
        if xml_promised:
            wrong = root[1].lower() in _XML_ERROR_ROOTS
        return Fit.MESSAGE if wrong else Fit.FITS
    return _judge_text(expected, text, whole)


def is_conclusive(promise: Promise, content_type: str) -> bool:
    """Whether the head of a response settles that the file is there: a page, or a message, would not have this type."""
    media_type = content_type.partition(";")[0].strip().lower()
    if "html" in media_type:
        return False  # it may be a firewall's page
    expected = set(promise.formats)
    if not expected:
        return True
    if media_type.endswith("json"):
        return bool(expected & formats.JSON)
    return media_type != "text/plain" or bool(expected & (formats.TEXT | formats.JSON | formats.XML))


def is_page(text: bytes, content_type: str = "", *, xml_promised: bool = False, table_promised: bool = False) -> bool:
    """Whether text is HTML: a document, a fragment, or text with tags that the server calls HTML."""
    if pages.looks_like_html(text, xml_promised=xml_promised):
        return True
    if pages.looks_like_fragment(text, xml_promised=xml_promised):
        return not (table_promised and _is_table(text))
    return (
        "html" in content_type.lower()
        and not (xml_promised and _XML_START.match(text))
        and not _is_table(text)
        and media_types.mimetype("text/html", text, "") in ("text/html", "application/xhtml+xml")
    )


def _is_office_page(promise: Promise, text: bytes, content_type: str) -> bool:
    """Whether a page is a table or a text that Excel and Word open: many programs write their exports as pages."""
    if _OFFICE_PAGE.search(text[:4_096]):
        return True
    media_type = content_type.partition(";")[0].strip().lower()
    called_excel = media_type in _EXCEL_TYPES or _of_extension(promise.name) in ("xls", "doc")
    return (called_excel and b"<table" in text.lower()) or _TABLE_START.match(text) is not None


def _is_table(text: bytes) -> bool:
    """Whether at least two lines have the same number of the same delimiter."""
    lines = [line for line in text[:4_096].splitlines() if line.strip()][:5]
    if len(lines) < 2:
        return False
    return any(lines[0].count(mark) and lines[0].count(mark) == lines[1].count(mark) for mark in _DELIMITERS)


def _is_small_object(text: bytes) -> bool:
    """Whether JSON is one object of a few plain values: a status or a message, not data."""
    if len(text) > MAX_MESSAGE:
        return False
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and not any(isinstance(value, (dict, list)) for value in found.values())


def _judge_text(expected: set[str], text: bytes, whole: bool) -> Fit:
    if _is_table(text):
        return Fit.FITS
    stripped = text.strip()
    is_short = whole and 0 < len(stripped) <= MAX_MESSAGE
    lines = len(stripped.splitlines())
    message = stripped.decode("utf-8", "replace") if is_short else ""
    if expected & formats.TEXT:
        # A single line may be a small file, and several lines a column, so only error messages do not fit.
        says_error = _TRACE.match(message) or (lines == 1 and _says_error(expected, message))
        return Fit.MESSAGE if says_error else Fit.FITS
    if expected & formats.JSON and (b"{" in stripped or b"[" in stripped or _is_json(stripped)):
        return Fit.CANNOT_SAY
    return Fit.MESSAGE if is_short and (lines <= 3 or _MESSAGE.match(message)) else Fit.CANNOT_SAY


def _says_error(expected: set[str], line: str) -> bool:
    if expected & _PROSE:
        return False
    return _ERROR_INSIDE.search(line) is not None or (_MESSAGE.match(line) is not None and not _DELIMITER.search(line))


def _is_json(text: bytes) -> bool:
    try:
        return json.loads(text) is not None
    except (ValueError, RecursionError):
        return False
