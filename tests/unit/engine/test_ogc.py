"""Quirks of OGC services: how a service is recognised and asked."""

from __future__ import annotations

import pytest

from ckanext.archiver.engine import ogc


@pytest.mark.parametrize(
    ("url", "format", "asked"),
    [
        ("http://m.example/x", "WMS", "http://m.example/x?SERVICE=WMS&REQUEST=GetCapabilities"),
        ("http://m.example/x?", "wfs", "http://m.example/x?SERVICE=WFS&REQUEST=GetCapabilities"),
        (
            "http://m.example/x?map=a.map",
            "OGC:WMS",
            "http://m.example/x?map=a.map&SERVICE=WMS&REQUEST=GetCapabilities",
        ),
        ("http://m.example/x?map=a&", "WMS", "http://m.example/x?map=a&SERVICE=WMS&REQUEST=GetCapabilities"),
        ("http://m.example/x?service=wfs", "", "http://m.example/x?service=wfs&REQUEST=GetCapabilities"),
        ("http://m.example/x?service=wfs", "WMS", "http://m.example/x?service=wfs&REQUEST=GetCapabilities"),
        (
            "http://m.example/geoserver/wms",
            "",
            "http://m.example/geoserver/wms?SERVICE=WMS&REQUEST=GetCapabilities",
        ),
        (
            "http://m.example/MapServer/WMSServer",
            "",
            "http://m.example/MapServer/WMSServer?SERVICE=WMS&REQUEST=GetCapabilities",
        ),
        ("http://m.example/csw", "", "http://m.example/csw?SERVICE=CSW&REQUEST=GetCapabilities"),
        ("http://m.example/x?request=GetMap", "WMS", None),
        ("http://m.example/x?REQUEST=GetCapabilities&service=WMS", "", None),
        ("http://m.example/x", "CSV", None),
        ("http://m.example/newmsg", "", None),
        ("http://m.example/cswap/x", "", None),
        ("http://wms.example/data.csv", "", None),
    ],
)
def test_how_a_service_is_asked(url: str, format: str, asked: str | None) -> None:
    quirk = ogc.quirk_of(url, format)
    assert (ogc.complete(url, quirk) if quirk else None) == asked


@pytest.mark.parametrize(
    ("url", "format", "service"),
    [
        ("http://m.example/arcgis/rest/services/A/MapServer/0", "", True),
        ("http://m.example/x", "WFS", True),
        ("http://m.example/x?service=WMS&request=GetMap", "", True),
        ("http://m.example/data.csv", "CSV", False),
    ],
)
def test_services_tell_errors_in_the_body(url: str, format: str, service: bool) -> None:
    assert ogc.is_service(url, format) is service
