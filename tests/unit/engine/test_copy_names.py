# ruff: noqa: E501 - a row of these tables is one line
"""Names and media types of copies: tables of what servers send, and what holds whatever they send."""

from __future__ import annotations

import io
import re
import time
import unicodedata
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import filenames

URL = "http://data.example/files/fallback.dat"


def as_header(text: str) -> str:
    """What http.client makes of the bytes of a header."""
    return text.encode("utf-8").decode("latin-1")


DISPOSITIONS = [
    # -- RFC 6266 §4, §5 ---------------------------------------------------------------------------------------
    ('attachment; filename="a.csv"', "a.csv"),
    ("attachment; filename=a.csv", "a.csv"),
    ("Attachment; Filename=a.csv", "a.csv"),
    ("inline; filename=a.csv", "a.csv"),
    ('attachment;filename="a.csv";', "a.csv"),
    ('attachment ; filename = "a.csv" ; size=1', "a.csv"),
    ('attachment; filename="the \\"best\\" data.csv"', "the _best_ data.csv"),
    ('attachment; filename="a;b.csv"', "a;b.csv"),
    ('attachment; filename="it\'s.csv"', "it's.csv"),
    ('attachment; name="x; filename=evil.exe"; filename=a.csv', "a.csv"),
    ('attachment; foo="\\"\\\\"; filename=a.csv', "a.csv"),
    ('attachment; xfilename="b.csv"; filename="a.csv"', "a.csv"),
    ("attachment; filename=A.CSV; filename=b.csv", "A.CSV"),  # twice is an error; the first, as browsers do
    ("attachment", "fallback.dat"),
    ("attachment; filename=", "fallback.dat"),
    ('attachment; filename=""', "fallback.dat"),
    ('attachment; filename="   "', "fallback.dat"),
    ("", "fallback.dat"),
    # -- RFC 8187 ----------------------------------------------------------------------------------------------
    ("attachment; filename*=UTF-8''%e2%82%ac%20rates.csv", "€ rates.csv"),
    ("attachment; filename*=utf-8'en'a%20b.csv", "a b.csv"),
    ("attachment; filename*=ISO-8859-1''%A3.csv", "£.csv"),
    ("attachment; filename=\"EURO.csv\"; filename*=UTF-8''%e2%82%ac.csv", "€.csv"),
    ("attachment; filename*=UTF-8''%e2%82%ac.csv; filename=\"EURO.csv\"", "€.csv"),  # whichever comes last
    ("attachment; filename*=UTF-8''%FF.csv; filename=a.csv", "a.csv"),  # not UTF-8
    ("attachment; filename*=Shift_JIS''a.csv; filename=b.csv", "b.csv"),  # not one of the two that must be known
    ("attachment; filename*=a.csv; filename=b.csv", "b.csv"),
    ("attachment; filename*=UTF-8''; filename=b.csv", "b.csv"),
    ("attachment; filename*=\"UTF-8''a%20b.csv\"", "a b.csv"),  # quoted, which is wrong and common
    ("attachment; filename*=UTF-8''a%2fb%5cc.csv", "c.csv"),
    ("attachment; filename*=UTF-8''%e2%80%aegpj.exe", "gpj.exe"),
    # -- what servers send all the same ---------------------------------------------------------------------------
    ("attachment; filename=foo bar.csv", "foo bar.csv"),
    ("filename=a.csv", "a.csv"),
    ('attachment; filename="a.csv', "a.csv"),
    (as_header("attachment; filename=données.csv"), "données.csv"),
    (as_header('attachment; filename="données.csv"'), "données.csv"),
    ('attachment; filename="donn\xe9es.csv"', "données.csv"),
    ('attachment; filename="a%20b.csv"', "a b.csv"),
    ('attachment; filename="100%.csv"', "100%.csv"),
    ('attachment; filename="=?UTF-8?B?w6QuY3N2?="', "ä.csv"),
    ('attachment; filename="=?ISO-8859-1?Q?=E4.csv?="', "ä.csv"),
    ('attachment; filename="=?nonsense?B?w6QuY3N2?="', "=_nonsense_B_w6QuY3N2_="),
    ('attachment; filename="C:\\data\\a.csv"', "a.csv"),
    ('attachment; filename="\\\\server\\share\\a.csv"', "a.csv"),
    ("attachment; filename=/etc/passwd", "passwd"),
    ('attachment; filename="../../a.csv"', "a.csv"),
    ('attachment; filename="a.csv/"', "a.csv"),
    ('attachment; filename=".."', "fallback.dat"),
    ('attachment; filename="."', "fallback.dat"),
    ('attachment; filename="a\x00b.csv"', "ab.csv"),
    ('attachment; filename="a.csv"\r\nX: y', "a.csv"),
]

URLS = [
    ("http://data.example/a/b.csv", None, "b.csv"),
    ("http://data.example/a/b%20c.csv?x=y.z#f", None, "b c.csv"),
    ("http://data.example/donn%C3%A9es.csv", None, "données.csv"),
    ("http://data.example/données.csv", None, "données.csv"),
    ("http://data.example/donn%E9es.csv", None, "données.csv"),
    ("http://data.example/a+b.csv", None, "a+b.csv"),
    ("http://data.example/a.csv/", "text/csv", "resource.csv"),
    ("http://data.example/", "text/csv", "resource.csv"),
    ("http://data.example", "application/pdf", "resource.pdf"),
    ("http://data.example/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "resource.xlsx"),
    ("http://data.example/", "application/xml; charset=utf-8", "resource.xml"),
    ("http://data.example/", "text/xml", "resource.xml"),
    ("http://data.example/", "image/jpeg", "resource.jpg"),
    ("http://data.example/", "application/gzip", "resource.gz"),
    ("http://data.example/", "audio/x-wav", "resource.wav"),
    ("http://data.example/", "application/octet-stream", "resource"),
    ("http://data.example/", "nonsense", "resource"),
    ("http://data.example/", None, "resource"),
    ("http://data.example/export", "text/csv", "export.csv"),
    ("http://data.example/export", None, "export"),
    ("http://data.example/export.php?format=csv", "text/csv", "export.csv"),
    ("http://data.example/export.php", None, "export.bin"),
    ("http://data.example/Data.ASPX", "application/json", "Data.json"),
    ("http://data.example/index.jsp", "text/html", "index.html"),
    ("http://data.example/report.v2", "text/csv", "report.v2"),
    ("http://data.example/stock-1.2", "text/csv", "stock-1.2.csv"),
    ("http://data.example/data.2024", "text/csv", "data.2024.csv"),
    ("http://data.example/data.tar.gz", "application/gzip", "data.tar.gz"),
    ("http://data.example/a.csv", "text/html", "a.csv"),
    ("http://data.example/..%2f..%2fetc%2fpasswd", "text/plain", "passwd.txt"),
    ("http://data.example/%2e%2e", None, "resource"),
    ("http://data.example/.htaccess", None, "htaccess"),
    ("http://data.example/-rf", None, "rf"),
    ("http://data.example/~root", None, "root"),
    ("http://data.example/a%00b.csv", None, "ab.csv"),
    ("http://data.example/a%0Ab.csv", None, "a b.csv"),
    ("http://data.example/%E2%80%AEvsc.exe", None, "vsc.exe"),
    ("http://data.example/a.csv%20.%20.", None, "a.csv"),
    ("http://data.example/con", None, "_con"),
    ("http://data.example/NUL.csv", None, "_NUL.csv"),
    ("http://data.example/com1.tar.gz", None, "_com1.tar.gz"),
    ("http://data.example/COM%C2%B9.csv", None, "_COM¹.csv"),
    ("http://data.example/aux .csv", None, "_aux .csv"),
    ("http://data.example/console.csv", None, "console.csv"),
    ("http://data.example/CONIN$", None, "_CONIN$"),
    ("http://data.example/a%3Cb%3E%3A%22%7C%3F%2A.csv", None, "a_b______.csv"),
    ("http://data.example/e%CC%81.csv", None, "é.csv"),
    ("not a url", "text/csv", "resource.csv"),
    ("", None, "resource"),
]


@pytest.mark.parametrize(("header", "expected"), DISPOSITIONS)
def test_names_from_content_disposition(header: str, expected: str) -> None:
    assert filenames.filename(header, URL) == expected


@pytest.mark.parametrize(("url", "mimetype", "expected"), URLS)
def test_names_from_the_url_or_the_media_type(url: str, mimetype: str | None, expected: str) -> None:
    assert filenames.filename(None, url, mimetype) == expected


@pytest.mark.parametrize("letter", ["a", "é", "漢", "\U0001f4be", "e\u0301\u0323"])
@pytest.mark.parametrize("extension", [".csv", ".geojson", "", ".andsomethingverylong" * 3])
def test_long_names_are_cut_between_letters(letter: str, extension: str) -> None:
    name = filenames.safe(letter * 300 + extension)
    assert 180 < len(name.encode()) <= filenames.MAX_NAME_BYTES
    if extension in (".csv", ".geojson"):
        assert name.endswith(extension)
        name = name[: -len(extension)]
    assert set(unicodedata.normalize("NFD", name)) <= set(unicodedata.normalize("NFD", letter))
    whole = unicodedata.normalize("NFC", letter)
    assert name == whole * (len(name) // len(whole))


def is_safe(name: str) -> None:
    assert name
    assert len(name.encode("utf-8")) <= filenames.MAX_NAME_BYTES
    assert not set(name) & set('/\\<>:"|?*\0\r\n\t')
    assert name not in (".", "..")
    assert name[0] not in ".- ~"
    assert name[-1] not in ". "
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs") for char in name)
    assert not re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name)
    assert not re.search(r"(?i)\.(php\d?|phtml|cgi|aspx?|jspx?)$", name)


strings = st.text(st.characters(codec=None, categories=None), max_size=80)
parts = st.lists(
    st.sampled_from(
        [
            "attachment",
            ";",
            "filename",
            "filename*",
            "=",
            '"',
            "\\",
            "'",
            "UTF-8",
            "%e2%82%ac",
            "%ff",
            "%",
            "..",
            "/",
        ]
        + [
            ".csv",
            ".php",
            "CON",
            " ",
            "\t",
            "=?utf-8?b?",
            "?=",
            "é",
            "\xe9",
            "\u202e",
            "~",
            "-",
            "x" * 90,
            "a\u0301" * 70,
        ]
    ),
    max_size=15,
).map("".join)
kinds = st.sampled_from([None, "", "text/csv", "text/html", "application/octet-stream", "a/b", "x"]) | strings


@settings(max_examples=1000, deadline=None)
@given(st.none() | strings | parts, strings | parts | parts.map("http://data.example/".__add__), kinds)
@example(None, "HTTP://0/0 \x1b .:", None)
def test_names_are_safe_whatever_is_sent(header: str | None, url: str, kind: str | None) -> None:
    name = filenames.filename(header, url, kind)
    is_safe(name)
    assert filenames.safe(name) == name


@pytest.mark.parametrize("unit", ["; ", ";filename=", '"', "\\", "a=", "'", "=?a?b?", "%", ";\n", "\u0301", ' = "'])
def test_the_longest_headers_take_no_time(unit: str) -> None:
    text = unit * 100_000
    begin = time.perf_counter()
    filenames.filename("attachment; filename" + text, "http://data.example/" + text)
    filenames.filename("attachment; filename=" + text, URL)
    filenames.filename('attachment; filename="' + text, URL)
    filenames.safe(text)
    filenames.mimetype(text, text.encode(), text)
    assert time.perf_counter() - begin < 3


# -- media types -----------------------------------------------------------------------------------------------


def zipped(*members: str | tuple[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member in members:
            name, content = member if isinstance(member, tuple) else (member, "x")
            archive.writestr(name, content)
    return buffer.getvalue()


ZIP = zipped("a.csv", "b/c.csv")
OFFICE = ("[Content_Types].xml", "_rels/.rels")
XLSX = zipped(*OFFICE, "xl/workbook.xml")
OLE = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(20)
TIFF = b"II*\x00\x08\x00\x00\x00" + bytes(40)
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"
GZIP = b"\x1f\x8b\x08\x00" + bytes(30)
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(30)
GPKG = b"SQLite format 3\x00" + bytes(52) + b"GPKG" + bytes(30)
HTML = b"<!DOCTYPE html>\n<html><head><title>x</title>"
XHTML = b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x" "y">\n<html xmlns="z">'
CSV = b"id;name\n1;a\n"
JSON = b'{"type": "FeatureCollection"}'
XML = b'<?xml version="1.0"?>\n<kml xmlns="x"/>'
EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
KML = "application/vnd.google-earth.kml+xml"
OCTETS = "application/octet-stream"

TYPES = [
    # -- a header that says something true is kept -------------------------------------------------------------------
    ("text/csv", CSV, "a", "text/csv"),
    ("Text/CSV; charset=utf-8; header=present", CSV, "a", "text/csv"),
    ("text/csv", CSV, "a.txt", "text/csv"),
    ("text/csv", "a;b\n".encode("utf-16"), "a.csv", "text/csv"),
    ("text/csv", b"caf\xe9;b\n", "a.csv", "text/csv"),
    ("text/csv", JSON, "a.csv", "text/csv"),
    ("text/turtle", b"<http://x> <y> <z> .", "a", "text/turtle"),
    ("application/geo+json", JSON, "a.json", "application/geo+json"),
    ("application/rdf+xml", XML, "a.xml", "application/rdf+xml"),
    ("application/pdf", PDF, "a", "application/pdf"),
    ("image/tiff", TIFF, "a.tif", "image/tiff"),
    ("image/tiff; application=geotiff", TIFF, "a.tif", "image/tiff"),
    ("application/x-netcdf", HDF5, "a", "application/x-netcdf"),
    ("application/geopackage+sqlite3", GPKG, "a", "application/geopackage+sqlite3"),
    ("application/x-statistics", b"\x00\x01\x02", "a", "application/x-statistics"),
    ("application/x-shapefile", ZIP, "a.zip", "application/x-shapefile"),
    ("application/vnd.ms-excel", OLE, "a", "application/vnd.ms-excel"),
    ("application/vnd.ms-excel", b"\x09\x08\x10\x00\x00\x06", "a.xls", "application/vnd.ms-excel"),
    ("application/xhtml+xml", XHTML, "a", "application/xhtml+xml"),
    ("image/svg+xml", b"<svg xmlns='x'>", "a", "image/svg+xml"),
    ("text/html", HTML, "a.csv", "text/html"),
    ("text/html", b"<p>No such file</p>", "a.csv", "text/html"),
    # -- one spelling ------------------------------------------------------------------------------------------
    ("application/csv", CSV, "a", "text/csv"),
    ("application/x-zip-compressed", ZIP, "a", "application/zip"),
    ("text/json", JSON, "a", "application/json"),
    ("application/x-gzip", GZIP, "a", "application/gzip"),
    # -- a header that says nothing ------------------------------------------------------------------------------
    (None, CSV, "a.csv", "text/csv"),
    (OCTETS, CSV, "a.csv", "text/csv"),
    ("application/force-download", CSV, "a.tsv", "text/tab-separated-values"),
    ("text/plain", CSV, "a.csv", "text/csv"),
    ("text/plain; charset=utf-8", CSV, "a", "text/plain"),
    ("binary/octet-stream", CSV, "a", "text/plain"),
    ("nonsense", PDF, "a", "application/pdf"),
    ("", PNG, "a", "image/png"),
    ("text/plain", JSON, "a", "application/json"),
    ("text/plain", JSON, "a.geojson", "application/geo+json"),
    ("text/plain", XML, "a.kml", KML),
    ("text/plain", XML, "a", "application/xml"),
    ("text/plain", b"<gml:x a='b'>", "a", "application/xml"),
    ("text/plain", b"<a>,<b>", "a.csv", "text/csv"),
    ("text/plain", HTML, "a.csv", "text/html"),
    ("text/plain", b"[2024-01-01 10:00] started", "a.txt", "text/plain"),
    ("text/plain", b"<http://x> <y> <z> .", "a.nt", "application/n-triples"),
    (OCTETS, ZIP, "a", "application/zip"),
    (OCTETS, GZIP, "a.csv.gz", "application/gzip"),
    (OCTETS, OLE, "a.xls", "application/vnd.ms-excel"),
    (OCTETS, OLE, "a", "application/x-ole-storage"),
    (OCTETS, HDF5, "a.h5", "application/x-hdf5"),
    (OCTETS, HDF5, "a.nc", "application/x-netcdf"),
    (OCTETS, GPKG, "a", "application/geopackage+sqlite3"),
    (OCTETS, b"PAR1\x15\x04", "a", "application/vnd.apache.parquet"),
    (OCTETS, b"7z\xbc\xaf\x27\x1c\x00\x04", "a", "application/x-7z-compressed"),
    (OCTETS, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "a", "image/jpeg"),
    (OCTETS, bytes(range(256)), "a.shp", "application/vnd.shp"),
    (OCTETS, bytes(range(256)), "a.csv", OCTETS),
    (OCTETS, bytes(range(256)), "a", OCTETS),
    (None, b"", "a.csv", "text/csv"),
    (None, b"", "a", OCTETS),
    ("text/csv", b"", "a.json", "text/csv"),
    ("text/plain", b"", "a", "text/plain"),
    # -- a header that cannot be true ----------------------------------------------------------------------------
    ("text/html", ZIP, "a.zip", "application/zip"),
    ("text/csv", ZIP, "a.csv", "application/zip"),
    ("text/csv", GZIP, "a.csv", "application/gzip"),
    ("application/json", PDF, "a.json", "application/pdf"),
    ("application/pdf", HTML, "a.pdf", "text/html"),
    ("application/pdf", ZIP, "a.pdf", "application/zip"),
    ("text/csv", HTML, "a.csv", "text/html"),
    ("text/csv", b"<!-- x --><!-- y -->\n<HTML>", "a.csv", "text/html"),
    ("application/json", b"\xef\xbb\xbf" + HTML, "a.json", "text/html"),
    ("application/zip", HTML, "a.zip", "text/html"),
    ("application/zip", PDF, "a.zip", "application/pdf"),
    ("image/png", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "a.png", "image/jpeg"),
    ("image/png", HTML, "a.png", "text/html"),
    ("image/png", CSV, "a.csv", "text/csv"),
    ("text/html", CSV, "a.csv", "text/csv"),
    ("text/html", CSV, "a.php", "text/plain"),
    ("text/html", JSON, "a.php", "application/json"),
    ("text/html", b"<iati-activities version='1.0'>\n<title>x</title>", "a.iati", "application/xml"),
    ("text/html", b"<!-- x --><rss:channel><p>x</p>", "a", "application/xml"),
    ("text/html", b"@prefix foaf: <http://xmlns.com/foaf/0.1/> .\n<#me> a foaf:Person .", "a.ttl", "text/turtle"),
    ("text/html", b"a < b, c > d", "a", "text/plain"),
    ("text/html", b"Sorry, <b>no</b> file", "a.csv", "text/html"),
    ("text/html", b"Sorry<br/>no file", "a.csv", "text/html"),
    ("text/html", b"Sorry, see <a\nhref='/'>here</a>", "a.csv", "text/html"),
    ("text/html", XML, "a.kml", KML),
    ("text/html", bytes(range(256)), "a", OCTETS),
    ("application/vnd.ms-excel", CSV, "a.csv", "text/csv"),
    ("application/vnd.ms-excel", CSV, "a.xls", "text/plain"),
    ("application/vnd.ms-excel", HTML, "a.xls", "text/html"),
    ("application/vnd.ms-excel", XLSX, "a.xls", EXCEL),
    (EXCEL, OLE, "a.xlsx", "application/x-ole-storage"),
    (EXCEL, OLE, "a.xls", "application/vnd.ms-excel"),
    # -- zips ----------------------------------------------------------------------------------------------------
    (OCTETS, XLSX, "a", EXCEL),
    ("application/zip", XLSX, "a.zip", EXCEL),
    (EXCEL, XLSX, "a.xlsx", EXCEL),
    (OCTETS, XLSX, "a.xlsm", "application/vnd.ms-excel.sheet.macroenabled.12"),
    (
        OCTETS,
        zipped(*OFFICE, "word/document.xml"),
        "a",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    (
        OCTETS,
        zipped(*OFFICE, "ppt/presentation.xml"),
        "a",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
    (OCTETS, zipped(*OFFICE), "a.xlsx", EXCEL),
    (OCTETS, zipped("xl/a.csv", "xl/b.csv"), "a.zip", "application/zip"),
    (OCTETS, zipped(("mimetype", ODS), "content.xml"), "a", ODS),
    (OCTETS, zipped(("mimetype", "application/epub+zip"), "x"), "a", "application/epub+zip"),
    (OCTETS, zipped(("mimetype", "text/html"), "x"), "a", "application/zip"),
    (OCTETS, zipped("doc.kml"), "a", "application/vnd.google-earth.kmz"),
    (OCTETS, zipped("x.kml"), "a.kmz", "application/vnd.google-earth.kmz"),
    ("application/zip", ZIP, "a.kmz", "application/vnd.google-earth.kmz"),
    ("application/vnd.google-earth.kmz", ZIP, "a.zip", "application/vnd.google-earth.kmz"),
    (ODS, HTML, "a.ods", "text/html"),
    (OCTETS, zipped(), "a.zip", "application/zip"),
    (OCTETS, b"PK\x03\x04", "a.zip", "application/zip"),
    # -- made more exact -----------------------------------------------------------------------------------------
    ("application/json", JSON, "a.geojson", "application/geo+json"),
    ("application/json", JSON, "a.topojson", "application/topo+json"),
    ("application/json", JSON, "a.csv", "application/json"),
    ("application/json", b'{"a":1}\n{"a":2}\n', "a.jsonl", "application/x-ndjson"),
    ("application/xml", XML, "a.kml", KML),
    ("text/xml", XML, "a.gml", "application/gml+xml"),
    ("text/xml", XML, "a.html", "text/xml"),
]


@pytest.mark.parametrize(("header", "data", "name", "expected"), TYPES)
def test_media_types(header: str | None, data: bytes, name: str, expected: str) -> None:
    assert filenames.mimetype(header, data, name) == expected


@settings(max_examples=500, deadline=None)
@given(
    st.none() | strings | st.sampled_from([row[0] for row in TYPES]),
    st.binary(max_size=300) | st.sampled_from([row[1] for row in TYPES]),
    strings | st.sampled_from([row[2] for row in TYPES]),
)
def test_there_is_a_media_type_whatever_is_sent(header: str | None, data: bytes, name: str) -> None:
    kind = filenames.mimetype(header, data, name)
    assert re.fullmatch(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", kind)
    is_safe(filenames.filename(None, "http://data.example/", kind))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([XLSX, ZIP, OLE, PDF, HTML, XML, JSON, GPKG]), st.integers(0, 300))
def test_a_file_that_is_cut_anywhere(data: bytes, length: int) -> None:
    assert filenames.mimetype(None, data[:length], "a")
