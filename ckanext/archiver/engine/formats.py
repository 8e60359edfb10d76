"""Formats as publishers declare them, by what the bytes of such a file are: the table behind ``content.judge``."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Formats that promise a file of data. Not here: services and pages (API, WMS, HTML ...), where a page may be meant, and
# words without a definition.
TEXT = _words("""
    csv tsv tab psv txt text px ics ical vcf jsonl ndjson yaml yml toml ttl turtle n3 nt nq trig n-triples n-quads sql
    geojsonl wkt asc xyz dat dbn bib ris rtf rdf owl dcat
""")
JSON = _words("json geojson topojson json-ld jsonld stac")
XML = _words("xml rdf owl xsd sdmx iati rss atom gml kml gpx svg netex siri inspire citygml datex2 xbrl mods dcat")
OFFICE = _words("xls xlsx xlsb xlsm doc docx")
_DOCUMENTS = _words("ods odt odp ppt pptx pdf epub")
_MAPS_AND_SCIENCE = _words("""
    kmz shp shapefile gpkg geopackage tif tiff geotiff dwg dxf las laz mbtiles nc netcdf hdf hdf5 h5 grib grib2 parquet
    avro feather arrow rds rdata ecw jp2 img fgdb gdb fgb pmtiles gtfs-rt
""")
_ARCHIVES_AND_DATABASES = _words("""
    zip gz gzip 7z rar tar tgz bz2 xz zst gtfs mdb accdb dbf sqlite sqlite3 sav dta por sas7bdat
""")
_MEDIA = _words("jpg jpeg png gif webp bmp mp3 mp4 wav ogg avi mov")
BINARY = OFFICE | _DOCUMENTS | _MAPS_AND_SCIENCE | _ARCHIVES_AND_DATABASES | _MEDIA
DATA = TEXT | JSON | XML | BINARY

# Declared words by which a page or a service is meant.
_NO_FILE = _words("""
    html htm xhtml shtml php asp aspx jsp web webpage website url uri link hyperlink homepage page api rest service
    services webservice sparql soap odata wms wfs wcs wmts csw wps sos tms map maps app application tool viewer
    dashboard portal visualization visualisation story
""")
_NO_FILE_PHRASE = re.compile(
    r"\b(?:web ?(?:page|site|service|app|map)|api|rest|esri|arcgis|ogc|map|service|portal|link)\b"
)

# Media types and other spellings.
_ALIASES = {
    "ld+json": "json",
    "geo+json": "geojson",
    "vnd.geo+json": "geojson",
    "rdf+xml": "rdf",
    "atom+xml": "atom",
    "rss+xml": "rss",
    "svg+xml": "svg",
    "gml+xml": "gml",
    "gpx+xml": "gpx",
    "vnd.google-earth.kml+xml": "kml",
    "vnd.google-earth.kmz": "kmz",
    "plain": "txt",
    "tab-separated-values": "tsv",
    "comma-separated-values": "csv",
    "calendar": "ics",
    "excel": "xls",
    "ms excel": "xls",
    "msexcel": "xls",
    "vnd.ms-excel": "xls",
    "word": "doc",
    "msword": "doc",
    "vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "vnd.oasis.opendocument.spreadsheet": "ods",
    "vnd.oasis.opendocument.text": "odt",
    "zip-compressed": "zip",
    "geopackage+sqlite3": "gpkg",
    "vnd.sqlite3": "sqlite",
    "vnd.apache.parquet": "parquet",
    "msaccess": "mdb",
    "ole-storage": "xls",
}


def plain(format: str) -> str:
    """One word for all spellings of a format: ``"csv"`` for "CSV", ".csv" and "text/csv; charset=utf-8"."""
    word = format.strip().lower().lstrip(".")
    if "/" in word:
        word = word.partition(";")[0].strip().rpartition("/")[2].removeprefix("x-")
    return _ALIASES.get(word, word)


def is_data(format: str) -> bool:
    """Whether a format, in any spelling ("CSV", ".csv", "text/csv"), promises a file of data."""
    return plain(format) in DATA


def is_page_or_service(format: str) -> bool:
    """Whether a declared format means a page or a service rather than a file."""
    return plain(format) in _NO_FILE or _NO_FILE_PHRASE.search(format.lower()) is not None
