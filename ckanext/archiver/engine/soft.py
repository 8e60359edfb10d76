"""Answers that say 200 and are not the file: each kind its own rule, with how sure we can be of it."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

from .outcome import Cause
from .wire import Failure

DATA_FORMATS = frozenset(
    "csv tsv xls xlsx xlsb xlsm ods odt odp doc docx ppt pptx pdf json geojson jsonld json-ld ndjson topojson xml gml kml"
    " kmz rdf ttl turtle n3 nt nq trig owl gpx zip gz 7z rar tar tgz shp shapefile gpkg geopackage tif tiff geotiff"
    " jpg jpeg png gif mdb accdb dbf sqlite parquet avro nc netcdf hdf hdf5 grib dwg dxf ics rss atom iati sdmx px sav"
    " dta sas7bdat txt xsd mp3 mp4 wav mbtiles las laz".split()
)


def is_data(format: str) -> bool:
    """Whether a declared format (of whatever spelling: "CSV", ".csv", "text/csv") promises data, not a page."""
    word = format.strip().lower().rpartition("/")[2].lstrip(".")
    word = word.removeprefix("x-").partition("+")[0] if word not in DATA_FORMATS else word
    return word in DATA_FORMATS


def trouble(first: bytes, whole: bool, url: str, final_url: str, format: str) -> Failure | None:
    """What is wrong with a good answer by the first bytes of its body.

    :param first: the beginning of the body, decoded
    :param whole: that is all of it
    """
    return None
