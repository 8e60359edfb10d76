"""``links``: what is the link of a resource, by what its columns hold."""

from __future__ import annotations

import pytest

from ckanext.archiver.links import Kind, has_link, is_about, kind, shown_url

# url, url_type → kind, the link
RESOURCES = [
    ("http://data.example/x.csv", None, Kind.LINK, "http://data.example/x.csv"),
    ("HTTPS://data.example/x.csv", "", Kind.LINK, "HTTPS://data.example/x.csv"),
    ("data.example.org/x.csv", None, Kind.LINK, "http://data.example.org/x.csv"),
    ("//data.example.org/x.csv", None, Kind.LINK, "http://data.example.org/x.csv"),
    ("/home/me/x.csv", None, Kind.LINK, "http://home/me/x.csv"),
    ("see our website", None, Kind.LINK, "http://see our website"),
    ("data.example.org:8080/x.csv", None, Kind.LINK, "data.example.org:8080/x.csv"),  # as CKAN has it: a scheme
    ("C:\\data\\x.csv", None, Kind.LINK, "C:\\data\\x.csv"),
    ("mailto:me@data.example", None, Kind.LINK, "mailto:me@data.example"),
    ("?id=http://data.example/", None, Kind.LINK, "http://?id=http://data.example/"),
    ("data.example/?next=http://other.example", None, Kind.LINK, "http://data.example/?next=http://other.example"),
    ("stops.csv", "upload", Kind.UPLOAD, "stops.csv"),
    ("", "upload", Kind.UPLOAD, ""),
    ("", None, Kind.NONE, ""),
    ("  ", "", Kind.NONE, ""),
    (None, None, Kind.NONE, ""),
    ("_datastore_only_resource", None, Kind.DATASTORE, ""),
    ("http://_datastore_only_resource", None, Kind.DATASTORE, ""),
    ("_datastore_only_resource", "datastore", Kind.DATASTORE, ""),
    ("http://portal.example/datastore/dump/1", "datastore", Kind.DATASTORE, ""),
    ("", "tabledesigner", Kind.DATASTORE, ""),
]


@pytest.mark.parametrize(("url", "url_type", "expected", "link"), RESOURCES)
def test_the_link_is_what_ckan_shows(url: str | None, url_type: str | None, expected: Kind, link: str) -> None:
    assert kind(url, url_type) is expected
    assert shown_url(url, url_type) == link
    assert shown_url(shown_url(url, url_type), url_type) == link, "what is shown is shown as it is"
    assert has_link(url, url_type) is (expected in (Kind.LINK, Kind.UPLOAD))


@pytest.mark.parametrize(
    ("source_url", "resource", "about"),
    [
        ("http://data.example/x", {"url": "http://data.example/x"}, True),
        ("http://data.example/x", {"url": "data.example/x"}, True),
        ("http://data.example/x", {"url": "http://data.example/y"}, False),
        ("stops.csv", {"url": "http://portal.example/download/stops.csv", "url_type": "upload"}, True),
        (None, {"url": "http://data.example/x"}, True),
    ],
)
def test_what_an_archival_is_about(source_url: str | None, resource: dict[str, str], about: bool) -> None:
    assert is_about(source_url, resource) is about
