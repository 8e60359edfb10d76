"""The media type of a file, judged from what a remote server sends.

The header wins where it can be right; the first bytes win where they show that it is not; the name decides between
what the bytes cannot tell apart. In order:

1. A header without information ("application/octet-stream", "application/force-download", none, nonsense; also
   "text/plain", which servers give to what they do not know) counts as none.
2. Bytes with a known signature (puremagic's, and those of a few data formats) win over a header that names a text, or
   a type whose own signature is missing. So a zip under "text/html" is a zip; a GeoTIFF under "image/tiff" and
   NetCDF-4 under "application/x-netcdf" (its bytes are HDF5) keep the type of the header.
3. In a zip the names of its members identify Office, OpenDocument, EPUB and KMZ files. Any other zip has the type of
   the header, or else of the extension, if that is a kind of zip; else it is "application/zip".
4. Text keeps any text type of the header ("text/csv", "application/geo+json"), except that an HTML page is "text/html"
   with any header, and JSON, XML or text without any HTML tag is not HTML.
5. An extension makes a type more exact, never another: "application/json" with ".geojson" is GeoJSON; text without a
   declared type is CSV if its name ends in ".csv".
"""

from __future__ import annotations

import mimetypes
import re

import puremagic

SNIFF_BYTES = 16_384
"""How many of the first bytes of a file are judged, here and everywhere in the engine."""

_OCTETS = "application/octet-stream"
_HTML = ("text/html", "application/xhtml+xml")

# The extensions that data portals have; Python's own table has the others. A copy without a name gets the first
# extension of its type.
_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".tab": "text/tab-separated-values",
    ".txt": "text/plain",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".md": "text/markdown",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".topojson": "application/topo+json",
    ".jsonld": "application/ld+json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".xml": "application/xml",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".gml": "application/gml+xml",
    ".gpx": "application/gpx+xml",
    ".rdf": "application/rdf+xml",
    ".owl": "application/rdf+xml",
    ".rss": "application/rss+xml",
    ".atom": "application/atom+xml",
    ".svg": "image/svg+xml",
    ".wsdl": "application/wsdl+xml",
    ".ttl": "text/turtle",
    ".n3": "text/n3",
    ".nt": "application/n-triples",
    ".nq": "application/n-quads",
    ".trig": "application/trig",
    ".rq": "application/sparql-query",
    ".ics": "text/calendar",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".sql": "application/sql",
    ".rtf": "application/rtf",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".kmz": "application/vnd.google-earth.kmz",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    ".xlsb": "application/vnd.ms-excel.sheet.binary.macroenabled.12",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".epub": "application/epub+zip",
    ".jar": "application/java-archive",
    ".xls": "application/vnd.ms-excel",
    ".doc": "application/msword",
    ".ppt": "application/vnd.ms-powerpoint",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".bz2": "application/x-bzip2",
    ".xz": "application/x-xz",
    ".zst": "application/zstd",
    ".7z": "application/x-7z-compressed",
    ".rar": "application/vnd.rar",
    ".tar": "application/x-tar",
    ".mdb": "application/x-msaccess",
    ".accdb": "application/x-msaccess",
    ".sqlite": "application/vnd.sqlite3",
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".h5": "application/x-hdf5",
    ".hdf5": "application/x-hdf5",
    ".nc": "application/x-netcdf",
    ".grib": "application/x-grib",
    ".shp": "application/vnd.shp",
    ".dbf": "application/vnd.dbf",
    ".shx": "application/vnd.shx",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".jp2": "image/jp2",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
}
_EXTENSIONS = {kind: extension for extension, kind in reversed(_TYPES.items())}
_EXTENSIONS["text/xml"] = ".xml"
# Python's own table, without the files of the machine, so that it is the same everywhere.
_PYTHON_TYPES = mimetypes.MimeTypes()

_ALIASES = {
    "application/csv": "text/csv",
    "text/x-csv": "text/csv",
    "text/comma-separated-values": "text/csv",
    "application/x-csv": "text/csv",
    "text/tsv": "text/tab-separated-values",
    "text/json": "application/json",
    "application/x-json": "application/json",
    "application/vnd.geo+json": "application/geo+json",
    "application/geojson": "application/geo+json",
    "application/x-pdf": "application/pdf",
    "application/x-zip": "application/zip",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/x-bzip": "application/x-bzip2",
    "application/x-rar-compressed": "application/vnd.rar",
    "application/x-sqlite3": "application/vnd.sqlite3",
    "application/x-hdf": "application/x-hdf5",
    "application/netcdf": "application/x-netcdf",
    "application/excel": "application/vnd.ms-excel",
    "application/x-excel": "application/vnd.ms-excel",
    "application/x-msexcel": "application/vnd.ms-excel",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
}
_UNINFORMATIVE = frozenset(
    {
        "",
        "*/*",
        "text/plain",
        _OCTETS,
        "application/x-octet-stream",
        "binary/octet-stream",
        "application/binary",
        "application/download",
        "application/x-download",
        "application/force-download",
        "application/x-force-download",
        "application/unknown",
        "application/x-unknown",
        "unknown/unknown",
        "content/unknown",
    }
)
# How files of these types must begin; if they do not, the header is wrong.
_SIGNATURES = {
    "application/pdf": re.compile(rb"(?s).{0,1024}%PDF-"),  # readers look for it in the first 1024 bytes
    "application/gzip": re.compile(rb"\x1f\x8b"),
    "application/vnd.ms-excel": re.compile(rb"\xd0\xcf\x11\xe0|\x09[\x00\x02\x04\x08]"),  # OLE, or bare BIFF
    "application/msword": re.compile(rb"\xd0\xcf\x11\xe0|\xdb\xa5"),
    "application/vnd.ms-powerpoint": re.compile(rb"\xd0\xcf\x11\xe0"),
    "application/x-7z-compressed": re.compile(rb"7z\xbc\xaf"),
    "application/vnd.rar": re.compile(rb"Rar!"),
    "application/vnd.sqlite3": re.compile(rb"SQLite format 3\x00"),
    "application/geopackage+sqlite3": re.compile(rb"SQLite format 3\x00"),
    "application/vnd.apache.parquet": re.compile(rb"PAR1"),
    "image/png": re.compile(rb"\x89PNG"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8"),
    "image/tiff": re.compile(rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]"),
}
_ZIP_START = re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)")
_ZIP_TYPES = frozenset(
    {kind for extension, kind in _TYPES.items() if extension in (".zip", ".kmz", ".jar")}
    | {kind for kind in _TYPES.values() if "openxml" in kind or "opendocument" in kind or kind.endswith("+zip")}
    | {
        "application/vnd.ms-excel.sheet.macroenabled.12",
        "application/vnd.ms-excel.sheet.binary.macroenabled.12",
    }
)
_OLE_START = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_TYPES = frozenset({_TYPES[".xls"], _TYPES[".doc"], _TYPES[".ppt"], "application/vnd.ms-outlook"})
# Data formats that some releases of puremagic do not know.
_MORE_SIGNATURES = (
    (0, b"PAR1", "application/vnd.apache.parquet"),
    (0, b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (0, b"CDF\x01", "application/x-netcdf"),
    (0, b"CDF\x02", "application/x-netcdf"),
    (0, b"CDF\x05", "application/x-netcdf"),
    (68, b"GPKG", "application/geopackage+sqlite3"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (4, b"jP  \r\n\x87\n", "image/jp2"),
)
_TEXT_TYPES = frozenset(_TYPES[x] for x in (".nt", ".nq", ".trig", ".rq", ".yaml", ".sql"))
# A type whose files are files of another type as well; the kinds of zip are _ZIP_TYPES.
_MADE_OF = {_TYPES[".nc"]: _TYPES[".h5"], _TYPES[".gpkg"]: _TYPES[".sqlite"]}

# The binary data bytes of the MIME Sniffing standard.
_BINARY = bytes(byte for byte in range(0x20) if byte not in b"\t\n\f\r\x1b")
_UNICODE_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_HTML_START = re.compile(r"<(?:!doctype\s+html|html|head|body|title|script|iframe|h1|table)[\s>]", re.I)
_ELEMENT_START = re.compile(r"<(?:!doctype\s|(?:[A-Za-z_][\w.-]*:)?[A-Za-z_][\w.-]*(?:[\s>]|/>))", re.I)
_ELEMENT_NAME = re.compile(r"<(!doctype\b|[A-Za-z_][\w:.-]*)", re.I)
# The elements with which a page begins, or a fragment that a script sends; all others stand inside these.
_HTML_NAME = (
    r"(?:html|head|body|title|meta|link|base|script|style|noscript|iframe|frameset|template|main|header|footer|nav"
    r"|section|article|aside"
    r"|div|p|span|a|b|i|u|em|strong|small|font|center|big|br|hr|h[1-6]|pre|code|blockquote"
    r"|table|tr|td|th|tbody|thead|caption|ul|ol|li|dl|dt|dd|img|picture|figure|video|audio|object|embed|form|fieldset"
    r"|input|button|select|label|textarea|svg)"
)
_HTML_ELEMENT = re.compile(_HTML_NAME, re.I)
_HTML_TAG = re.compile(rf"</?{_HTML_NAME}(?:\s[^<]*)?/?>", re.I)
_JSON_START = re.compile(r'(?:\{\s*(?:"|\})|\[\s*(?:[\[{"\]]|-?\d[\d.eE+]*\s*[,\]]|true|false|null))')

_MIME_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,80}/[a-z0-9!#$&^_.+-]{1,80}")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}")


def extension_of(kind: str) -> str:
    """The extension of a media type, with its dot; ``""`` if the type is unknown."""
    kind = _plain_type(kind)
    if kind == _OCTETS or not kind:
        return ""
    return _EXTENSIONS.get(kind) or _PYTHON_TYPES.guess_extension(kind) or ""


def _type_of_name(name: str) -> str:
    extension = _EXTENSION.fullmatch("." + name.rpartition(".")[2]) if "." in name else None
    if not extension:
        return ""
    suffix = extension[0].lower()
    return _TYPES.get(suffix) or _plain_type(_PYTHON_TYPES.types_map[True].get(suffix, ""))


def _plain_type(header: str) -> str:
    """Lower case, no parameters, one spelling for each; ``""`` for what is not a media type (RFC 9110 §8.3.1)."""
    kind = header[:1024].partition(";")[0].strip().lower()
    return _ALIASES.get(kind, kind) if _MIME_TYPE.fullmatch(kind) else ""


def mimetype(header: str | None, first_bytes: bytes, filename: str) -> str:
    """The media type of a file, by the rules at the top of this module. Never raises.

    :param header: ``Content-Type``, or None
    :param first_bytes: the beginning of the decoded file; ``SNIFF_BYTES`` are enough
    :param filename: what the file is called (see ``filenames.filename``)
    """
    declared = _plain_type(header or "")
    uninformative = declared in _UNINFORMATIVE
    named = _type_of_name(filename)
    data = first_bytes[:SNIFF_BYTES]
    if not data:
        return (declared if not uninformative else named) or declared or _OCTETS
    text = _text(data)
    if text is not None:
        return _text_type("" if uninformative else declared, text, named)
    seen = _binary_type(data, "" if uninformative else declared, named)
    if uninformative:
        return seen or (named if named and not _is_text(named) else _OCTETS)
    if not seen:
        return declared if declared not in _HTML else _OCTETS
    return seen if _contradicted(declared, seen, data) else declared


def _contradicted(declared: str, seen: str, data: bytes) -> bool:
    """Whether data of the type ``seen`` cannot be of the type ``declared``."""
    if _is_text(declared) or declared in _ZIP_TYPES:
        return True
    if _MADE_OF.get(declared) == seen:
        return False
    signature = _SIGNATURES.get(declared)
    if signature is None:
        # No signature is known for this type. Many formats are zips, but none outside "application/" is.
        return seen in _ZIP_TYPES and not declared.startswith("application/")
    return not signature.match(data)


def _is_text(kind: str) -> bool:
    return kind.startswith("text/") or kind.endswith(("json", "xml")) or kind in _TEXT_TYPES


def _text(data: bytes) -> str | None:
    """The data as text, None if it is binary: by the MIME Sniffing standard, §5.1 and §7.2."""
    for mark, encoding in _UNICODE_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    # Four times as fast as a regular expression.
    is_binary = len(data.translate(None, _BINARY)) != len(data)
    return None if is_binary else data.decode("utf-8", "replace")


def is_binary(data: bytes) -> bool:
    """Whether the beginning of a file is not text."""
    return _text(data[:SNIFF_BYTES]) is None


def _text_type(declared: str, text: str, named: str) -> str:
    """The type of a text. ``declared`` is ``""`` where the header has no information."""
    seen = _text_kind(text)
    if seen == _TYPES[".pdf"]:
        return seen
    if seen == "text/html":
        keeps = declared in _HTML or declared.endswith("xml")
        return declared if keeps else seen
    if declared in _HTML:
        wrong = bool(seen) or not _has_html(text)
    else:
        wrong = declared in _SIGNATURES or declared in _ZIP_TYPES or _is_media(declared)
    kind = ("" if wrong else declared) or seen
    if kind:
        return named if _more_exact(named, kind) else kind
    if _is_text(named) and named not in _HTML:
        return named
    return _TYPES[".xml"] if _ELEMENT_START.match(_after_comments(text)) else "text/plain"


def _has_html(text: str) -> bool:
    """Whether text declared as HTML can be HTML: XML and Turtle without a declaration have angle brackets too."""
    element = _ELEMENT_NAME.match(_after_comments(text))
    match = _HTML_ELEMENT.fullmatch(element[1]) if element else _HTML_TAG.search(text)
    return match is not None


def _is_media(kind: str) -> bool:
    return kind.startswith(("image/", "audio/", "video/")) and not kind.endswith("xml")


def _text_kind(text: str) -> str:
    """The type that a text has beyond doubt, ``""`` for none."""
    if text.startswith("%PDF-"):
        return _TYPES[".pdf"]
    text = _after_comments(text)
    if _JSON_START.match(text):
        return _TYPES[".json"]
    declaration = text[:5].lower() == "<?xml"
    if declaration:
        text = _after_comments(text.partition("?>")[2])
    if _HTML_START.match(text):
        return "text/html"
    return _TYPES[".xml"] if declaration else ""


def _after_comments(text: str) -> str:
    text = text.lstrip()
    while text.startswith("<!--"):
        text = text.partition("-->")[2].lstrip()
    return text


def _more_exact(named: str, kind: str) -> bool:
    if kind == _TYPES[".json"]:
        return named.endswith("json")
    if kind in (_TYPES[".xml"], "text/xml"):
        return named.endswith("+xml") and named not in _HTML
    return False


def _binary_type(data: bytes, declared: str, named: str) -> str:
    """The type by signature, ``""`` for none; header and name decide only between types with the same signature."""
    if _ZIP_START.match(data):
        return _zip_type(data, declared, named)
    if data.startswith(_OLE_START):
        return next((kind for kind in (declared, named) if kind in _OLE_TYPES), "application/x-ole-storage")
    for offset, magic, kind in _MORE_SIGNATURES:
        if data.startswith(magic, offset):
            return named if _MADE_OF.get(named) == kind else kind
    try:
        matches = puremagic.magic_string(data)
    except puremagic.PureError:
        return ""
    # puremagic gives 0.1 for each byte of a signature: a match of two bytes is chance.
    kinds = [_plain_type(match.mime_type) for match in matches if match.mime_type and match.confidence >= 0.3]
    kinds = [kind for kind in kinds if kind]
    return next((kind for kind in (declared, named) if kind and kind in kinds), kinds[0] if kinds else "")


def _zip_type(data: bytes, declared: str, named: str) -> str:
    members = _zip_members(data)
    hints = [kind for kind in (declared, named) if kind in _ZIP_TYPES and kind != _TYPES[".zip"]]
    names = [name for name, _ in members]
    for folder, extension, others in (
        ("xl/", ".xlsx", (".xlsm", ".xlsb")),
        ("word/", ".docx", ()),
        ("ppt/", ".pptx", ()),
    ):
        if any(name.startswith(folder) for name in names) and any(
            name in ("[Content_Types].xml", "_rels/.rels") for name in names
        ):
            return next((kind for kind in hints if kind in [_TYPES[x] for x in others]), _TYPES[extension])
    if members and members[0][0] == "mimetype":
        kind = _plain_type(members[0][1])
        return kind if kind.startswith("application/") else _TYPES[".zip"]
    if hints:
        return hints[0]
    return _TYPES[".kmz"] if "doc.kml" in names[:1] else _TYPES[".zip"]


def _zip_members(data: bytes) -> list[tuple[str, str]]:
    """Names and first bytes of the members whose local headers (APPNOTE 4.3.7) are in ``data``."""
    members = []
    for match in re.finditer(rb"PK\x03\x04", data):
        header = data[match.start() : match.start() + 30]
        if len(header) < 30:
            break
        name_end = match.start() + 30 + int.from_bytes(header[26:28], "little")
        start = name_end + int.from_bytes(header[28:30], "little")
        size = min(int.from_bytes(header[18:22], "little"), 100)
        name = data[match.start() + 30 : name_end].decode("utf-8", "replace")
        members.append((name, data[start : start + size].decode("utf-8", "replace")))
    return members
