"""Soft failures, rule by rule."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import formats, pages, reasons, soft_failures
from ckanext.archiver.engine.content import Promise
from ckanext.archiver.engine.failure import Failure
from ckanext.archiver.engine.outcome import Cause
from ckanext.archiver.engine.wire import Head

URL = "http://data.example/files/data.csv"
PAGE_URL = "http://data.example/files/data"


def judged(first: bytes, whole: bool, url: str, final_url: str, format: str) -> Failure | None:
    received = soft_failures.Received(first, whole, url, final_url, Head(200))
    return soft_failures.failure_of_body(received, Promise(format, url))


def detail(first: bytes, format: str = "", url: str = URL, final_url: str = URL, whole: bool = True) -> str | None:
    failure = judged(first, whole, url, final_url, format)
    assert failure is None or reasons.reason(failure.detail, failure.facts)
    return failure.detail if failure else None


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("CSV", True),
        (" .csv ", True),
        ("text/csv", True),
        ("application/geo+json", True),
        ("application/x-zip", True),
        ("text/csv; charset=utf-8", True),
        ("GeoPackage", True),
        ("HTML", False),
        ("API", False),
        ("WMS", False),
        ("", False),
        ("web page", False),
        ("Esri REST", False),
        ("text/html", False),
        ("/", False),
        ("link", False),
    ],
)
def test_formats_that_promise_data(format: str, data: bool) -> None:
    assert formats.is_data(format) is data


@pytest.mark.parametrize(
    ("first", "page"),
    [
        (b"<!DOCTYPE html>", True),
        (b"<!doctype HTML PUBLIC '-//W3C'>", True),
        (b"\xef\xbb\xbf\r\n <!-- a --> <!-- b -->\n<html lang=en>", True),
        (b'<?xml version="1.0"?><!DOCTYPE html><html xmlns="x">', True),
        (b"<head><title>x", True),
        (b"<?xml version='1.0'?><feed>", False),
        (b"<htmlish>", False),
        (b"<svg><title>x</title></svg>", False),
        (b"a,b\n<html>,1\n", False),
        (b'{"html": "<html>"}', False),
        (b"<!-- <html> -->\n<rdf:RDF>", False),
        (b"", False),
    ],
)
def test_pages_are_known_by_their_own_tags(first: bytes, page: bool) -> None:
    assert pages.looks_like_html(first) is page


@pytest.mark.parametrize(
    ("url", "final_url", "root"),
    [
        (URL, "http://data.example/", True),
        (URL, "https://www.data.example/", True),
        (URL, "https://new.example/", True),
        ("http://data.example/old", "http://data.example/", True),
        ("http://short.example/abc", "https://data.example/", False),
        ("http://data.example/", "https://data.example/", False),
        ("http://data.example", "https://www.data.example/", False),
        (URL, "http://data.example/?file=data.csv", False),
        (URL, "http://data.example/en/", False),
        ("http://data.example/?id=7", "http://data.example/", False),
        ("http://data.example/index.html", "https://data.example/", False),
        ("http://data.example/Default.aspx", "https://www.data.example/", False),
        ("http://data.example/files/index.html", "http://data.example/", True),
    ],
)
def test_deep_links_that_end_at_the_root(url: str, final_url: str, root: bool) -> None:
    assert (detail(b"<html><title>Welcome</title>", "", url, final_url) == "soft-root") is root
    # What is served at a root may be data.
    assert detail(b"a,b\n1,2\n", "CSV", url, final_url) is None


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("404", True),
        ("404 Not Found", True),
        ("HTTP 404", True),
        ("Error 404 (Not Found)!!1", True),
        ("Not Found", True),
        ("Page not found – Ministry", True),
        ("The page cannot be found", True),
        ("The resource could not be found.", True),
        ("This page doesn&#39;t exist", True),
        ("This document is no longer exists", False),
        ("File does not exist", True),
        ("Fehler 404", True),
        ("Page introuvable", True),
        ("Pagina niet gevonden", True),
        ("Found at last: the page", False),
        ("File found", False),
        ("Dataset 404: bridges", False),
        ("Highway 404 traffic", False),
        ("Objects not found in museums", False),
        ("", False),
    ],
)
def test_pages_that_say_not_found(title: str, found: bool) -> None:
    page = f"<html><head><TITLE class=x>\n {title} </TITLE></head><body><h1>x</h1>".encode()
    assert detail(page, url=PAGE_URL, final_url=PAGE_URL) == ("soft-not-found-page" if found else None)


def test_a_table_that_excel_saved_as_a_page_is_a_table() -> None:
    saved = b'<html xmlns:o="urn:schemas-microsoft-com:office:office" xmlns:x="urn:schemas-microsoft-com:office:excel">'
    assert detail(saved, "XLS") is None
    assert detail(saved, "CSV") == "soft-html"
    assert detail(b"<html><head><title>Log in</title>", "XLS") == "soft-html"


def test_a_heading_says_it_too() -> None:
    assert detail(b"<html><title>City</title><h1><span>Page</span> not found</h1>") == "soft-not-found-page"


@pytest.mark.parametrize(
    "text",
    [
        b"<ServiceExceptionReport><ServiceException code='X'>no</ServiceException></ServiceExceptionReport>",
        b'<?xml version="1.0"?>\n<?xsl x?>\n<!-- a -->\n<ows:ExceptionReport xmlns:ows="x"/>',
        b"<ServiceException>no</ServiceException>",
        b'<!DOCTYPE ServiceExceptionReport SYSTEM "x" [<!ENTITY a "b">]><ServiceExceptionReport/>',
    ],
)
def test_service_exceptions(text: bytes) -> None:
    assert (detail(text, "XML") or "").startswith("soft-service-")


@pytest.mark.parametrize(
    "text",
    [
        b"<Report><ServiceException/></Report>",
        b"ServiceExceptionReport",
        b"<html><pre>&lt;ServiceExceptionReport",
    ],
)
def test_what_only_mentions_an_exception_is_none(text: bytes) -> None:
    assert detail(text, url=PAGE_URL, final_url=PAGE_URL) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"error":{"code":400,"message":"Invalid URL","details":[]}}', "soft-arcgis-error"),
        (b'\xef\xbb\xbf { "error" : { "message" : "x \\"y\\"" , "code" : 404', "soft-arcgis-error"),
        (b'{"error":{"code":500,"message":"Error performing query operation"}}', "soft-arcgis-failure"),
        (b'{"error":{"code":499,"message":"Token Required"}}', "arcgis-login"),
        (b'{"error":"nope"}', None),
        (b'{"error":{"reason":"x"}}', None),
        (b'{"data":[],"error":{"code":400,"message":"x"}}', None),
    ],
)
def test_arcgis(text: bytes, expected: str | None) -> None:
    assert detail(text, "JSON") == expected


def test_words_of_the_remote_are_short_and_visible() -> None:
    failure = judged(b"<ServiceException>a\x00b\n\n" + b"c" * 5_000 + b"</ServiceException>", True, URL, URL, "")
    assert failure is not None
    assert failure.cause is Cause.SOFT_404
    assert len(str(failure.facts["message"])) <= soft_failures.MAX_TEXT


@pytest.mark.parametrize(
    "first",
    [
        b"<!-- -->" * 2_000 + b"x",
        b"<!--" * 4_000,
        b"<? ?>" * 3_000,
        b"<?" * 8_000,
        b"<html>" + b"<h1>" * 4_000,
        b"<html>" + b"<title" * 2_700,
        b"<html><title>" + b"<" * 16_000,
        b"<ServiceException>" * 900,
        b"<ServiceException>" + b"<" * 16_000 + b"</",
        b"<ServiceExceptionReport>" + b"<ServiceException" * 900,
        b"<!DOCTYPE [" * 1_500,
        b"<!DOCTYPE" + b" " * 16_000,
        b"<!DOCTYPE x []" + b" " * 16_000,
        b'{"error":{' + b'"message":"\\' * 1_300,
        b" " * 16_000 + b"<",
    ],
)
def test_no_body_takes_long_to_judge(first: bytes) -> None:
    begun = time.thread_time()
    judged(first[:16_384], False, URL, URL, "")
    judged(first[:16_384], True, URL, URL, "JSON")
    soft_failures.failure_of_error_page(Head(503, {"content-type": ["text/html"]}), first[:16_384])
    assert time.thread_time() - begun < 0.2


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=20))
def test_any_body_is_judged(first: bytes, format: str) -> None:
    detail(first, format)
