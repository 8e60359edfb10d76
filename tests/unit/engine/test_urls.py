"""Links: the table of odd ones, what holds for every string, and what fuzzing once found."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import reasons, urls
from ckanext.archiver.engine.bad_ports import BAD_PORTS
from ckanext.archiver.engine.outcome import Cause
from odd_urls import BAD, GOOD, JOINED, REDACTED
from url_invariants import check

FOUND = Path(__file__).with_name("found_urls.jsonl")
"""What bench/fuzz/urls.py found, one JSON string a line."""

TEN_MEGABYTES = 10_000_000

# Strings that are nearly links find more than strings that are not.
pieces = st.sampled_from(
    [
        "http",
        "https",
        "ftp",
        ":",
        "/",
        "//",
        "\\",
        "@",
        "?",
        "#",
        "[",
        "]",
        "%",
        "%2",
        "%2e",
        "..",
        ".",
        "data",
    ]
    + [
        "example",
        "127",
        "0x7f",
        "1",
        "::1",
        "fe80",
        "80",
        "22",
        "99999",
        " ",
        "\t",
        "\n",
        "\0",
        "\ud800",
        "é",
    ]
    + ["１", "。", "℀", "\u200b", "\ufeff", "|", "{", "user", "secret", "xn--", "-", "_"]
)
nearly_links = st.lists(pieces, max_size=20).map("".join)
strings = st.text(st.characters(codec=None, categories=None), max_size=60) | nearly_links
links = st.tuples(st.sampled_from(["http://", "https://", "ftp://", "http:\\\\"]), strings).map("".join)


@pytest.mark.parametrize(("given_url", "expected", "why"), GOOD, ids=[row[2] for row in GOOD])
def test_bytes_on_the_wire(given_url: str, expected: str, why: str) -> None:
    target = urls.normalise(given_url)
    assert isinstance(target, urls.Target), target
    assert target.url == expected
    assert target.request_target == "/" + expected.split("/", 3)[3]
    assert urls.host_of(given_url) == target.host


@pytest.mark.parametrize(("given_url", "cause", "detail"), BAD, ids=[repr(row[0][:40]) for row in BAD])
def test_what_is_no_link_says_why(given_url: str, cause: str, detail: str) -> None:
    bad = urls.normalise(given_url)
    assert isinstance(bad, urls.BadUrl), bad
    assert (str(bad.cause), bad.detail) == (cause, detail)
    sentence = reasons.reason(bad.detail, bad.facts)
    assert sentence.endswith(".")
    assert "secret" not in sentence
    assert urls.host_of(given_url) == ""


@pytest.mark.parametrize(("base", "location", "expected"), JOINED)
def test_where_a_redirect_leads(base: str, location: str, expected: str) -> None:
    target = urls.normalise(urls.join(base, location))
    assert (target.url if isinstance(target, urls.Target) else str(target.cause)) == expected


@pytest.mark.parametrize(("given_url", "shown"), REDACTED)
def test_credentials_are_not_shown(given_url: str, shown: str) -> None:
    assert urls.redact(given_url) == shown


def test_parts_of_a_target() -> None:
    target = urls.normalise("HTTPS://us%65r:p%40ss:w%2Ford@Data.Example.:8443/a b?c#d")
    assert target == urls.Target(
        scheme="https",
        host="data.example",
        port=8443,
        host_header="data.example.:8443",
        request_target="/a%20b?c",
        username="user",
        password="p@ss:w/ord",
    )
    assert isinstance(target, urls.Target)
    assert target.has_credentials
    assert "p@ss" not in repr(target) + target.url


def test_an_ipv6_host_has_brackets_only_in_the_header() -> None:
    target = urls.normalise("http://[2001:DB8::1]:8080/")
    assert isinstance(target, urls.Target)
    assert (target.host, target.host_header, target.port) == ("2001:db8::1", "[2001:db8::1]:8080", 8080)


def test_the_final_dot_is_not_part_of_the_host() -> None:
    """Certificates, SNI (RFC 6066 §3) and the politeness key know hosts without it."""
    target = urls.normalise("http://data.example./")
    assert isinstance(target, urls.Target)
    assert (target.host, target.host_header) == ("data.example", "data.example.")


@pytest.mark.parametrize("port", sorted(BAD_PORTS))
def test_bad_ports_are_refused(port: int) -> None:
    assert urls.normalise(f"http://data.example:{port}/") == urls.BadUrl(
        Cause.REFUSED_BY_POLICY, "port-refused", {"port": port}
    )


@pytest.mark.parametrize("port", [80, 81, 443, 591, 3000, 5000, 6080, 6443, 8000, 8080, 8081, 8443, 8888, 9000])
def test_ports_where_data_lives_are_allowed(port: int) -> None:
    target = urls.normalise(f"http://data.example:{port}/")
    assert isinstance(target, urls.Target)
    assert target.port == port


def test_there_are_as_many_bad_ports_as_the_fetch_standard_has() -> None:
    """82 up to 2024, two more since; port 0 is not counted, it is no port."""
    assert len(BAD_PORTS) == 82
    assert {4190, 6679, 10080} < BAD_PORTS


@pytest.mark.parametrize(
    "text",
    [
        "http://data.example/" + "a" * TEN_MEGABYTES,
        "a" * TEN_MEGABYTES,
        " " * TEN_MEGABYTES,
        "http://" + "@:" * (TEN_MEGABYTES // 2),
        "http://" + "[" * TEN_MEGABYTES,
        "http:" + "/" * TEN_MEGABYTES,
        ":" * TEN_MEGABYTES,
        "http://data.example/" + "../" * (TEN_MEGABYTES // 3),
        "é" * TEN_MEGABYTES,
    ],
    ids=lambda text: text[:30],
)
def test_ten_megabytes_are_answered_at_once(text: str) -> None:
    start = time.thread_time()
    assert isinstance(urls.normalise(text), urls.BadUrl)
    assert urls.host_of(text) == ""
    urls.redact(text)
    urls.join("http://data.example/", text)
    urls.join(text, "/a")
    assert time.thread_time() - start < 2


@pytest.mark.parametrize(
    "unit", ["../", "%", "%%", "é", "[", "@:", ".", "1.", "0x", "\\", "a.", "-", "%2e/", "?#", "\t", "１"]
)
@pytest.mark.parametrize("start", ["", "http://", "http://data.example/", "http://data.example/?", "http://1:"])
def test_the_longest_links_take_no_time(start: str, unit: str) -> None:
    text = (start + unit * urls.MAX_LENGTH)[: urls.MAX_LENGTH]
    begin = time.thread_time()
    urls.normalise(text)
    urls.redact(text)
    urls.join("http://data.example/", text)
    assert time.thread_time() - begin < 1


@settings(max_examples=1000, deadline=None)
@given(strings | links)
@example("http://%5B::1%5D/")
def test_what_holds_for_every_string(text: str) -> None:
    check(text)


@settings(max_examples=500, deadline=None)
@given(strings, strings)
def test_joining_never_raises(base: str, location: str) -> None:
    found = urls.normalise(urls.join(base, location))
    assert isinstance(found, (urls.Target, urls.BadUrl))


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(["http://", "https:\\\\", "ftp://", "//", ""]),
    st.text("abc%:@é [", max_size=5),
    st.text("abc%:@é/?#\\[", max_size=5),
)
def test_a_password_is_never_shown(start: str, user: str, rest: str) -> None:
    """Wherever the reader would see it, in a link that works or in one that does not."""
    text = f"{start}{user}:SECRET{rest}@data.example/a"
    assert "SECRET" not in urls.redact(text)
    found = urls.normalise(text)
    if isinstance(found, urls.Target):
        assert "SECRET" not in repr(found).split("request_target")[0]
    else:
        assert "SECRET" not in reasons.reason(found.detail, found.facts)


@pytest.mark.parametrize("line", FOUND.read_text().splitlines())
def test_what_fuzzing_found(line: str) -> None:
    check(json.loads(line))
