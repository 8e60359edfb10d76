"""Whether what came is what was promised: the promise itself, and files of real publishers, none of which is
doubted.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import content, http_status, media_types, soft_failures, walls
from ckanext.archiver.engine.content import Fit, Promise
from ckanext.archiver.engine.wire import Head

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
"""Files of public bodies; not part of the project."""


@pytest.mark.parametrize(
    ("promise", "formats"),
    [
        (Promise("CSV"), ("csv",)),
        (Promise("", "http://a.example/x.csv"), ("csv",)),
        (Promise("", "http://a.example/x.CSV?a=b.zip"), ("csv",)),
        (Promise("", "http://a.example/x.php"), ()),
        (Promise("", "http://a.example/x.php", "a.xlsx"), ("xlsx",)),
        (Promise("", "http://a.example/x", "", "text/csv", "data.csv"), ("csv",)),
        (Promise("", "http://a.example/x", "", "application/x-netcdf", "x"), ("netcdf",)),
        (Promise("ZIP", "http://a.example/x.csv"), ("zip", "csv")),
        (Promise("HTML", "http://a.example/x.csv"), ()),
        (Promise("Web page", "http://a.example/x.csv"), ()),
        (Promise("WMS", "http://a.example/x.xml"), ()),
        (Promise("Esri REST", "http://a.example/x.json"), ()),
        (Promise("API", "http://a.example/x", "", "application/json"), ("json",)),
        (Promise("no such word", "http://a.example/x.csv"), ("csv",)),
        (Promise("MS Excel"), ("xls",)),
        (Promise("", "http://a.example/wiki/File:Map.png"), ()),
        (Promise("", "http://a.example/"), ()),
        (Promise("", "not a url.csv"), ("csv",)),
        (Promise(), ()),
    ],
)
def test_what_is_promised(promise: Promise, formats: tuple[str, ...]) -> None:
    assert promise.formats == formats


def files() -> list[Path]:
    return sorted(path for path in CORPUS.glob("*") if path.name not in ("README.md", "SHA256SUMS"))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the files of public bodies are not beside the project")
def test_no_real_file_is_doubted() -> None:
    """With its own format, with the media type as that of the copy, and with what servers say of files."""
    assert len(files()) >= 20
    for path in files():
        first = path.read_bytes()[: media_types.SNIFF_BYTES]
        whole = path.stat().st_size <= len(first)
        url = f"http://data.example/{path.name}"
        kept = media_types.mimetype(None, first, path.name)
        for content_type in ("", "text/html", "text/plain", "application/octet-stream", kept):
            head = Head(200, {"content-type": [content_type]} if content_type else {})
            for promise in (Promise(path.suffix, url), Promise("", url, "", kept, path.name), Promise()):
                received = soft_failures.Received(first, whole, url, url, head)
                failure = soft_failures.failure_of_body(received, promise)
                assert failure is None, (path.name, content_type, promise, failure)
        assert walls.by_page(Head(200), first) is None, path.name


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the files of public bodies are not beside the project")
def test_a_page_in_the_place_of_any_real_file_is_doubted() -> None:
    page = b"<!DOCTYPE html><html><head><title>Portal</title></head><body>Welcome</body></html>"
    for path in files():
        kept = media_types.mimetype(None, path.read_bytes()[: media_types.SNIFF_BYTES], path.name)
        if path.suffix == ".html":
            continue
        assert content.judge(Promise("", "http://a.example/x", "", kept, path.name), page, True) is Fit.PAGE, path.name


PROMISES = st.builds(
    Promise,
    st.sampled_from(["", "CSV", "ZIP", "JSON", "XML", "XLS", "HTML", "WMS", "?"]) | st.text(max_size=12),
    st.sampled_from(["", "http://a.example/x.csv", "http://a.example/x"]) | st.text(max_size=20),
    st.text(max_size=12),
    st.sampled_from(["", "text/csv", "application/zip"]) | st.text(max_size=12),
    st.text(max_size=12),
)
BEGINNINGS = st.sampled_from(
    [b"", b"<html>", b"<script>", b'{"error":{', b"<ServiceException>", b"<?xml ?>", b"Error: "]
)


@settings(max_examples=500, deadline=None)
@given(PROMISES, BEGINNINGS, st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.booleans())
def test_any_body_is_judged(promise: Promise, beginning: bytes, rest: bytes, whole: bool) -> None:
    head = Head(200, {"content-type": ["text/html"]})
    received = soft_failures.Received(beginning + rest, whole, "http://a.example/x", "http://a.example/y", head)
    failure = soft_failures.failure_of_body(received, promise)
    assert failure is None or failure.detail


def test_each_wall_has_its_source_and_date() -> None:
    assert len({wall.product for wall in walls.WALLS}) >= 35
    for wall in walls.WALLS:
        source, date = wall.source
        assert source
        assert len(date) == 10
        assert wall.header or wall.cookie or wall.markup or wall.statuses


def test_a_page_of_a_wall_with_much_else_on_it_is_none() -> None:
    page = b"<html><script>window._cf_chl_opt={}</script><p>" + b"Words of a page. " * 200
    assert walls.by_page(Head(200), page) is None
    assert walls.by_page(Head(200), page[:400]) == "Cloudflare"
    assert http_status.challenge(200).detail == "challenge"
