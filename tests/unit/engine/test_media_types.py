# ruff: noqa: E501 - a row of these tables is one line
"""Media types of copies: a table of what servers send, and what holds whatever they send."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_filenames import is_safe, strings

from ckanext.archiver.engine import filenames, media_types


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
    assert media_types.mimetype(header, data, name) == expected


@settings(max_examples=500, deadline=None)
@given(
    st.none() | strings | st.sampled_from([row[0] for row in TYPES]),
    st.binary(max_size=300) | st.sampled_from([row[1] for row in TYPES]),
    strings | st.sampled_from([row[2] for row in TYPES]),
)
def test_there_is_a_media_type_whatever_is_sent(header: str | None, data: bytes, name: str) -> None:
    kind = media_types.mimetype(header, data, name)
    assert re.fullmatch(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", kind)
    is_safe(filenames.filename(None, "http://data.example/", kind))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([XLSX, ZIP, OLE, PDF, HTML, XML, JSON, GPKG]), st.integers(0, 300))
def test_a_file_that_is_cut_anywhere(data: bytes, length: int) -> None:
    assert media_types.mimetype(None, data[:length], "a")
