# ruff: noqa: E501 - rows of a table
"""What an origin may do, and what must come of it: one row a behaviour.

A row: name, what is served, ``cause detail``, verdict of a first run, HTTP requests, body bytes read (a number or a
range); then what is special about it. Columns that a row does not name have the defaults of :class:`Case`.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from time import time
from typing import Any

from .certificates import EXPIRED_ON, HOST, VALID_FROM
from .server import Conversation, Serve

CSV = b"name,value\n" + b"".join(b"row %d,%d\n" % (n, n * n) for n in range(200))
PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><h1>Hello</h1>" + b"x" * 500 + b"</body></html>"
)
LIMIT = 100_000
"""``max_content_length`` of every case that does not say otherwise."""

SHORT = {"first_byte_timeout": 0.4, "read_timeout": 0.4}
FLOOR = {"floor_rate": 2_000, "floor_seconds": 0.5}
TOTAL = {"total_timeout": 0.8, "floor_rate": 0}


@dataclass(frozen=True)
class Case:
    """:ivar url: ``{port}`` names a listener, ``{name}`` the case
    :ivar facts: what the sentence must be filled with
    :ivar expect: attributes of the outcome
    :ivar seconds: at least, at most
    :ivar looks: connections in all, where they are more than ``requests`` (the second look at a certificate)
    """

    name: str
    serve: Serve
    what: str
    verdict: str
    requests: int = 1
    bytes_read: int | tuple[int, int] = 0
    url: str = "http://127.0.0.1:{http}/{name}/data.csv"
    request: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str | int] = field(default_factory=dict)
    expect: Mapping[str, Any] = field(default_factory=dict)
    seconds: tuple[float, float] = (0, 3)
    body: bytes | None = None
    """The file that must be on disk."""


def answer(status: str = "200 OK", body: bytes = b"", *headers: str, length: int | None = -1) -> bytes:
    """An answer as a good server writes it; ``length=None`` leaves Content-Length out."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def ok(body: bytes = CSV, *headers: str, length: int | None = -1, kind: str = "text/csv") -> bytes:
    return answer("200 OK", body, f"Content-Type: {kind}", *headers, length=length)


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n", extension: bytes = b"") -> bytes:
    coded = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return answer("200 OK", b"", "Content-Type: text/csv", "Transfer-Encoding: chunked", length=None) + coded + end


def moved(where: str, status: str = "302 Found", *headers: str) -> bytes:
    return answer(status, b"", f"Location: {where}", *headers)


def coded(body: bytes, coding: str, *headers: str, **more: Any) -> bytes:
    return ok(body, f"Content-Encoding: {coding}", *headers, **more)


ROOT = ok(PAGE, kind="text/html")
"""What is served at ``/``."""

ROWS: list[Case] = []


def row(*values: Any, **more: Any) -> None:
    ROWS.append(Case(*values, **more))


def good(name: str, serve: Serve, body: bytes = CSV, wire: int | None = None, **more: Any) -> None:
    """A row of a link that works and whose file is kept."""
    row(
        name,
        serve,
        "ok ok",
        "ok",
        more.pop("requests", 1),
        len(body) if wire is None else wire,
        body=body,
        **more,
    )


# -- the file, in all the ways in which it may come -----------------------------------------------------------

good("plain", ok(), expect={"mimetype": "text/csv", "filename": "data.csv", "http_status": 200,
                            "sha256": hashlib.sha256(CSV).hexdigest(),
                            "sha1": hashlib.sha1(CSV, usedforsecurity=False).hexdigest()})  # fmt: skip
good("ipv6", ok(), url="http://[::1]:{http6}/{name}/data.csv")
good("name", ok(), url="http://data.example:{http}/{name}/data.csv")
good("http-1.0-until-close", b"HTTP/1.0 200 OK\r\nContent-Type: text/csv\r\n\r\n" + CSV)
good("until-close", ok(length=None))
good("chunked", chunked(CSV[:10], CSV[10:]))
good("chunked-one-by-one", chunked(*(bytes([byte]) for byte in CSV[:300])), CSV[:300])
row(
    "chunked-one-by-one-for-ever",
    lambda talk: _endless(talk, chunked(b"x", end=b""), b"1\r\nx\r\n" * 5_000),
    "server-error bad-framing",
    "failing",
    1,
    (1, 90_000),
)
good("chunked-extension", chunked(CSV, extension=b";name=value"))
good("chunked-upper-hex", chunked(CSV).replace(b"%x" % len(CSV), b"%X" % len(CSV)))
good("chunked-padded-size", chunked(CSV).replace(b"%x" % len(CSV), b"0000%x " % len(CSV)))
good("chunked-trailers", chunked(CSV, end=b"0\r\nX-Checksum: 1\r\nX-Other: 2\r\n\r\n"))
good("chunked-bare-lf", chunked(CSV).replace(b"\r\n", b"\n"))
good("chunked-no-blank-line-at-the-end", chunked(CSV, end=b"0\r\n"))
good("chunked-and-length", chunked(CSV).replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n", 1))
good("bare-lf", ok().replace(b"\r\n", b"\n", 3))
good("same-length-twice", ok(CSV, f"Content-Length: {len(CSV)}"))
good("length-listed-twice", ok(CSV, f"Content-Length: {len(CSV)}, {len(CSV)}", length=None))
for _name, _length in (("negative", "-5"), ("word", "five"), ("plus", "+5"), ("empty", "")):
    good(f"length-{_name}", ok(CSV, f"Content-Length: {_length}", length=None))
good("chunked-said-twice", chunked(CSV).replace(b"Transfer", b"Transfer-Encoding: chunked\r\nTransfer", 1))
good("more-than-announced", ok(CSV + b"and more", length=len(CSV)))
good("no-phrase", b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(CSV) + CSV)
good("http-1.9", b"HTTP/1.9 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CSV) + CSV)
good("early-hints", b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" + ok())
good("continue-and-processing", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok())
good("folded-header", ok(CSV, "X-Long: a", " b", "\tc"), expect={"etag": None})
good("odd-header-lines", ok(CSV, "no colon here", ": no name", "bad name: x", "X-Nul: a\0b", "X-Umlaut: \xe4"))
good("blank-before-colon", ok(CSV, f"Content-Length : {len(CSV)}", length=None))
good("other-status-201", answer("201 Created", CSV))
good("other-status-203", answer("203 Non-Authoritative Information", CSV))
good("unknown-coding-word", coded(CSV, "utf-8"))
good("identity", coded(CSV, "identity"))
good(
    "html-called-html",
    ok(PAGE, kind="text/html"),
    PAGE,
    request={"format": "HTML"},
    expect={"mimetype": "text/html"},
)
good("html-without-format", ok(PAGE, kind="text/html"), PAGE, url="http://127.0.0.1:{http}/{name}/data")
good("csv-called-html", ok(kind="text/html"), request={"format": "CSV"}, expect={"mimetype": "text/csv"})
good("xml-with-html-inside", ok(b"<?xml version='1.0'?><feed><html/></feed>", kind="application/xml"),
     b"<?xml version='1.0'?><feed><html/></feed>", request={"format": "XML"})  # fmt: skip
good("named", ok(CSV, 'Content-Disposition: attachment; filename="../../etc/J\xc3\xa4hrlich 2026.csv"'),
     expect={"filename": "Jährlich 2026.csv"})  # fmt: skip
good("validators", ok(CSV, 'ETag: W/"abc"', "Last-Modified: Mon, 05 Jan 2026 10:00:00 GMT"),
     expect={"etag": 'W/"abc"', "last_modified": "Mon, 05 Jan 2026 10:00:00 GMT"})  # fmt: skip
good("exactly-the-limit", ok(b"x" * LIMIT), b"x" * LIMIT)
good("one-byte", ok(b"1"), b"1")
good("slow-but-steady", lambda talk: _steadily(talk), b"x" * 3_000, limits={**FLOOR, "first_byte_timeout": 2},
     seconds=(0.5, 3))  # fmt: skip


async def _steadily(talk: Conversation) -> None:
    await talk.send(answer(body=b"", length=3_000))
    for _ in range(15):
        await talk.drip(b"", 0)
        await talk.send(b"x" * 200)
        await _pause(0.04)


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


# -- compressed all the same ----------------------------------------------------------------------------------

_GZ = gzip.compress(CSV)
_RAW_DEFLATE = zlib.compress(CSV)[2:-4]
good("gzip", coded(_GZ, "gzip"), wire=len(_GZ))
good("x-gzip", coded(_GZ, "x-gzip"), wire=len(_GZ))
good("gzip-chunked", chunked(_GZ).replace(b"Transfer", b"Content-Encoding: gzip\r\nTransfer", 1), wire=len(_GZ))
good("gzip-as-transfer-coding", chunked(_GZ).replace(b"chunked", b"gzip, chunked", 1), wire=len(_GZ))
good("gzip-members", coded(gzip.compress(CSV[:90]) + gzip.compress(CSV[90:]), "gzip"),
     wire=len(gzip.compress(CSV[:90]) + gzip.compress(CSV[90:])))  # fmt: skip
good("gzip-padded", coded(_GZ + b"\0" * 20, "gzip"), wire=len(_GZ) + 20)
good("gzip-twice", coded(gzip.compress(_GZ), "gzip, gzip"), wire=len(gzip.compress(_GZ)))
good("deflate", coded(zlib.compress(CSV), "deflate"), wire=len(zlib.compress(CSV)))
good("deflate-raw", coded(_RAW_DEFLATE, "deflate"), wire=len(_RAW_DEFLATE))
good("gz-file", coded(_GZ, "gzip", kind="application/gzip"), _GZ)
good("gz-by-name", coded(_GZ, "gzip"), _GZ, url="http://127.0.0.1:{http}/{name}/data.csv.gz")
row("brotli", coded(b"\x0b\x02\x80abc\x03", "br"), "ok ok-undecodable", "ok")
row("gzip-garbage", coded(CSV, "gzip"), "server-error bad-encoding", "failing", 1, (1, len(CSV)))
row("gzip-cut", coded(_GZ[:-20], "gzip"), "server-error bad-encoding", "failing", 1, len(_GZ) - 20)
row("gzip-bomb", coded(gzip.compress(bytes(40_000_000)), "gzip"), "too-large too-large", "ok", 1, (1, 40_000))
row("gzip-ratio", coded(gzip.compress(bytes(40_000_000)), "gzip"), "too-large expands-too-much", "ok", 1, (1, 40_000),
    limits={"max_content_length": 50_000_000})  # fmt: skip
row("codings-by-the-thousand", coded(_GZ, "gzip, " * 8_000 + "gzip"), "server-error bad-encoding", "failing")
# Bytes that bring nothing count like others: a name in the gzip header, members without content, a bomb in a coding
# below the last.
_GZ_NAMED = b"\x1f\x8b\x08\x08" + bytes(5) + b"\x03"
row("gzip-name-for-ever", lambda talk: _endless(talk, coded(_GZ_NAMED, "gzip", length=None), b"x" * 4096),
    "too-large too-large", "ok", 1, (LIMIT, 2 * LIMIT))  # fmt: skip
row("gzip-members-for-ever", lambda talk: _endless(talk, coded(gzip.compress(b""), "gzip", length=None), gzip.compress(b"") * 200),
    "too-large too-large", "ok", 1, (LIMIT, 2 * LIMIT))  # fmt: skip
row("gzip-in-gzip-bomb", coded(gzip.compress(_GZ_NAMED + b"x" * 40_000_000), "gzip, gzip"), "too-large expands-too-much", "ok",
    1, (1, 60_000))  # fmt: skip
row("gzip-name-for-ever-looked-at", lambda talk: _endless(talk, coded(_GZ_NAMED, "gzip", length=None), b"x" * 4096),
    "ok ok-checked", "ok", 1, (1, 40_000), request={"check_only": True, "hints": {"head": False, "ranges": False}})  # fmt: skip

# -- statuses -------------------------------------------------------------------------------------------------

for _status in (404, 410):
    row(
        f"status-{_status}",
        answer(f"{_status} x", PAGE),
        "gone http-gone" if _status == 404 else "gone http-removed",
        "broken",
        expect={"http_status": _status},
    )
for _status in (401, 402, 403, 406, 407, 418, 420, 423, 428, 429, 440, 449, 451, 498, 509, 511, 999):
    row(f"status-{_status}", answer(f"{_status} x", PAGE), "blocked http-blocked", "not-sure", 2 if _status == 406 else 1,
        expect={"http_status": _status, "transient": False})  # fmt: skip
for _status in (
    408,
    421,
    425,
    500,
    502,
    503,
    504,
    520,
    521,
    522,
    523,
    524,
    525,
    526,
    527,
    528,
    529,
    530,
):
    row(f"status-{_status}", answer(f"{_status} x", PAGE), "server-error http-status", "failing",
        expect={"http_status": _status, "transient": True}, facts={"status": _status})  # fmt: skip
for _status in (
    101,
    207,
    226,
    300,
    305,
    306,
    400,
    405,
    409,
    411,
    412,
    413,
    414,
    415,
    416,
    417,
    422,
    501,
    505,
    600,
    777,
):
    row(f"status-{_status}", answer(f"{_status} x", PAGE), "server-error http-status", "failing", 2 if _status == 415 else 1,
        expect={"http_status": _status, "transient": False})  # fmt: skip
row("status-204", answer("204 No Content", length=None), "soft-404 soft-no-content", "not-sure")
row("status-205", answer("205 Reset Content"), "soft-404 soft-no-content", "not-sure")
row("unasked-206", answer("206 Partial Content", CSV), "server-error unasked", "failing")
row("unasked-304", answer("304 Not Modified", length=None), "server-error unasked", "failing")
row(
    "busy",
    answer("503 x", b"", "Retry-After: 120"),
    "blocked http-busy",
    "not-sure",
    expect={"retry_after": 120},
)
row("busy-date", answer("503 x", b"", f"Retry-After: {formatdate(time() + 3600, usegmt=True)}"), "blocked http-busy",
    "not-sure")  # fmt: skip
row("busy-for-ever", answer("429 x", b"", "Retry-After: 99999999999999"), "blocked http-blocked", "not-sure",
    expect={"retry_after": 86_400})  # fmt: skip
row("busy-nonsense", answer("429 x", b"", "Retry-After: soon"), "blocked http-blocked", "not-sure",
    expect={"retry_after": None})  # fmt: skip
row("busy-long-ago", answer("429 x", b"", "Retry-After: Mon, 05 Jan 2015 10:00:00 GMT"), "blocked http-blocked", "not-sure",
    expect={"retry_after": 0})  # fmt: skip
row("challenge", answer("403 x", PAGE, "cf-mitigated: challenge"), "blocked challenge", "not-sure")
row("challenge-503", answer("503 x", PAGE, "CF-Mitigated: challenge"), "blocked challenge", "not-sure")
row("challenge-200", ok(PAGE, "cf-mitigated: challenge", kind="text/html"), "blocked challenge", "not-sure")
row("challenge-aws", answer("202 x", PAGE, "x-amzn-waf-action: challenge"), "blocked challenge", "not-sure")

# -- conditional ------------------------------------------------------------------------------------------------

_KNOWN = {"etag": '"v1"', "last_modified": "Mon, 05 Jan 2026 10:00:00 GMT"}


async def _if_changed(talk: Conversation) -> None:
    same = talk.headers.get("if-none-match") == '"v1"' and "if-modified-since" in talk.headers
    await talk.send(answer("304 Not Modified", b"", 'ETag: "v1"', length=None) if same else ok())


row(
    "not-modified",
    _if_changed,
    "ok ok-not-modified",
    "ok",
    request=_KNOWN,
    expect={"not_modified": True, "size": None},
)
good("modified", _if_changed, request={**_KNOWN, "etag": '"v0"'})
good(
    "conditions-not-in-headers",
    _if_changed,
    request={"etag": '"v1"\r\nEvil: 1', "last_modified": "yesterday"},
)
row("not-modified-after-redirect", {"/data.csv": moved("/not-modified-after-redirect/b"), "/b": _if_changed},
    "ok ok-not-modified", "ok", 2, request=_KNOWN)  # fmt: skip

# -- too large ----------------------------------------------------------------------------------------------------

row("too-large-announced", ok(b"x" * 10, length=LIMIT + 1), "too-large too-large-announced", "ok", 1, 0)
row(
    "too-large-huge-number",
    ok(b"x", f"Content-Length: {'9' * 5000}", length=None),
    "too-large too-large-announced",
    "ok",
)
row("too-large-chunked", lambda talk: _endless(talk, chunked(b"x" * 5000, end=b""), b"1388\r\n" + b"x" * 5000 + b"\r\n"),
    "too-large too-large", "ok", 1, (LIMIT, 2 * LIMIT))  # fmt: skip
row("endless", lambda talk: _endless(talk, ok(b"", length=None), b"x" * 4096), "too-large too-large", "ok", 1,
    (LIMIT, 2 * LIMIT))  # fmt: skip


async def _endless(talk: Conversation, first: bytes, piece: bytes) -> None:
    await talk.send(first)
    await talk.endless(piece)


# -- cut off ------------------------------------------------------------------------------------------------------

row("truncated", ok(CSV[:100], length=len(CSV)), "server-error truncated", "failing", 1, 100,
    facts={"received": 100, "expected": len(CSV)}, expect={"transient": True, "temp_path": None})  # fmt: skip
row("truncated-at-once", ok(b"", length=len(CSV)), "server-error truncated", "failing")
row(
    "truncated-chunk",
    chunked(CSV, end=b"")[:-20],
    "server-error truncated-chunked",
    "failing",
    1,
    len(CSV) - 18,
)
row(
    "truncated-between-chunks",
    chunked(CSV, end=b""),
    "server-error truncated-chunked",
    "failing",
    1,
    len(CSV),
)
row(
    "truncated-in-chunk-size",
    chunked(CSV, end=b"1"),
    "server-error truncated-chunked",
    "failing",
    1,
    len(CSV),
)
row("truncated-html", ok(PAGE[:200], length=len(PAGE), kind="text/html"), "server-error truncated", "failing", 1, 200,
    request={"format": "CSV"})  # fmt: skip

# -- not HTTP ---------------------------------------------------------------------------------------------------

row("http-0.9", b"<html>hello</html>", "server-error not-http", "failing")
row("garbage", bytes(range(256)) * 20, "server-error not-http", "failing")
row("ssh", b"SSH-2.0-OpenSSH_9.9\r\n", "server-error not-http", "failing")
row("http-2", b"HTTP/2 200 OK\r\n\r\n", "server-error not-http", "failing")
row("icy", b"ICY 200 OK\r\n\r\n" + CSV, "server-error not-http", "failing")
row("status-not-a-number", b"HTTP/1.1 abc OK\r\n\r\n", "server-error not-http", "failing")
row("status-too-short", b"HTTP/1.1 20 OK\r\n\r\n", "server-error not-http", "failing")
row("status-zero", b"HTTP/1.1 000 OK\r\n\r\n", "server-error not-http", "failing")
row("header-line-300k", ok(CSV, "X-Big: " + "x" * 300_000), "server-error headers-too-large", "failing")
row("header-endless", lambda talk: _endless(talk, b"HTTP/1.1 200 OK\r\nX: ", b"x" * 4096), "server-error headers-too-large",
    "failing")  # fmt: skip
row("headers-endless", lambda talk: _endless(talk, b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 100),
    "server-error headers-too-large", "failing")  # fmt: skip
row(
    "headers-thousands",
    ok(CSV, *(f"X-{n}: {n}" for n in range(2_000))),
    "server-error headers-too-many",
    "failing",
)
row("hints-endless", lambda talk: _endless(talk, b"", b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"),
    "server-error headers-too-large", "failing")  # fmt: skip
row("two-lengths", ok(CSV, "Content-Length: 5"), "server-error conflicting-length", "failing")
row(
    "two-lengths-listed",
    ok(CSV, "Content-Length: 5, 6", length=None),
    "server-error conflicting-length",
    "failing",
)
row("transfer-unknown", ok(CSV, "Transfer-Encoding: gzip", length=None), "server-error bad-framing", "failing")
row("chunk-size-word", chunked(CSV, end=b"zz\r\n"), "server-error bad-framing", "failing", 1, len(CSV))
row("chunk-size-negative", chunked(CSV, end=b"-5\r\n"), "server-error bad-framing", "failing", 1, len(CSV))
row(
    "chunk-size-huge",
    chunked(CSV, end=b"f" * 17 + b"\r\n"),
    "server-error bad-framing",
    "failing",
    1,
    len(CSV),
)
row("chunk-line-endless", lambda talk: _endless(talk, chunked(CSV, end=b"5;"), b"x" * 999), "server-error bad-framing",
    "failing", 1, len(CSV))  # fmt: skip
row("chunk-longer-than-said", chunked(CSV, end=b"2\r\nabcd\r\n0\r\n\r\n"), "server-error bad-framing", "failing", 1,
    len(CSV) + 2)  # fmt: skip
row("chunk-extensions-flood", lambda talk: _endless(talk, chunked(b"x", end=b""), b"1;" + b"y" * 900 + b"\r\nx\r\n"),
    "server-error bad-framing", "failing", 1, (1, 2_000))  # fmt: skip
row("trailers-endless", lambda talk: _endless(talk, chunked(CSV, end=b"0\r\n"), b"X-A: b\r\n" * 100),
    "server-error headers-too-large", "failing", 1, len(CSV))  # fmt: skip

# -- the connection -----------------------------------------------------------------------------------------------


async def _reset_at(talk: Conversation, data: bytes) -> None:
    if data:
        await talk.send(data)
        await _pause(0.05)
    talk.reset()


row(
    "refused",
    b"",
    "unreachable refused",
    "failing",
    0,
    url="http://127.0.0.1:{refused}/",
    expect={"transient": True},
)
row("not-answered", b"", "unreachable connect-timeout", "failing", 0, url="http://127.0.0.1:{full}/",
    limits={"connect_timeout": 0.5}, seconds=(0.4, 2))  # fmt: skip
row("resetting", b"", "unreachable reset", "failing", url="http://127.0.0.1:{resetting}/")
row("silent", b"", "unreachable first-byte-timeout", "failing", url="http://127.0.0.1:{silent}/", limits=SHORT,
    seconds=(0.3, 2))  # fmt: skip
row("reset-before-answer", lambda talk: _reset_at(talk, b""), "unreachable reset", "failing")
row("reset-in-status-line", lambda talk: _reset_at(talk, b"HTTP/1."), "unreachable reset", "failing")
row("reset-in-headers", lambda talk: _reset_at(talk, ok()[:30]), "unreachable reset", "failing")
row(
    "reset-in-body",
    lambda talk: _reset_at(talk, ok(CSV[:50], length=len(CSV))),
    "unreachable reset",
    "failing",
    1,
    50,
)
row("reset-in-chunk", lambda talk: _reset_at(talk, chunked(CSV, end=b"5\r\nab")), "unreachable reset", "failing", 1,
    len(CSV) + 2)  # fmt: skip
row("closed-before-answer", b"", "unreachable no-answer", "failing")
row("closed-in-status-line", b"HTTP/1.1 2", "server-error head-cut", "failing")
row("closed-in-headers", ok()[:30], "server-error head-cut", "failing")


async def _hang(talk: Conversation, data: bytes) -> None:
    await talk.send(data)
    await talk.gone()


row("hang-before-answer", lambda talk: _hang(talk, b""), "unreachable first-byte-timeout", "failing", limits=SHORT,
    seconds=(0.3, 2))  # fmt: skip
row("hang-in-headers", lambda talk: _hang(talk, ok()[:30]), "unreachable read-timeout", "failing", limits=SHORT,
    seconds=(0.3, 2))  # fmt: skip
row("hang-in-body", lambda talk: _hang(talk, ok(CSV[:50], length=len(CSV))), "unreachable read-timeout", "failing", 1, 50,
    limits=SHORT, seconds=(0.3, 2))  # fmt: skip
row("hang-after-404", lambda talk: _hang(talk, answer("404 x", b"", length=500)), "gone http-gone", "broken",
    limits=SHORT, seconds=(0, 0.3))  # fmt: skip
row("drip-headers", lambda talk: talk.drip(ok(), 0.05), "unreachable too-slow", "failing", limits=FLOOR,
    seconds=(0.4, 2))  # fmt: skip
row("drip-headers-no-floor", lambda talk: talk.drip(ok(), 0.05), "unreachable total-timeout", "failing", limits=TOTAL,
    seconds=(0.7, 2))  # fmt: skip
row("drip-body", lambda talk: _drip_body(talk), "unreachable too-slow", "failing", 1, (1, 100), limits=FLOOR,
    seconds=(0.4, 2))  # fmt: skip
row("drip-body-no-floor", lambda talk: _drip_body(talk), "unreachable total-timeout", "failing", 1, (1, 100), limits=TOTAL,
    seconds=(0.7, 2))  # fmt: skip
row("drip-chunk-extension", lambda talk: _drip_after(talk, chunked(CSV, end=b"5;"), b"x" * 500), "unreachable too-slow",
    "failing", 1, len(CSV), limits={**FLOOR, "floor_rate": 20_000}, seconds=(0.4, 2))  # fmt: skip
row("drip-trailers", lambda talk: _drip_after(talk, chunked(CSV, end=b"0\r\n"), b"X: y\r\n" * 90), "unreachable too-slow",
    "failing", 1, len(CSV), limits={**FLOOR, "floor_rate": 20_000}, seconds=(0.4, 2))  # fmt: skip
row("drip-redirects", lambda talk: _drip_after(talk, b"", moved("/drip-redirects/again")), "unreachable total-timeout",
    "failing", limits=TOTAL, seconds=(0.7, 2))  # fmt: skip


async def _drip_body(talk: Conversation) -> None:
    await _drip_after(talk, ok(b"", length=5_000), b"x" * 5_000)


async def _drip_after(talk: Conversation, first: bytes, then: bytes) -> None:
    await talk.send(first)
    await talk.drip(then, 0.05)


# -- redirects ---------------------------------------------------------------------------------------------------

good("redirect", {"/data.csv": moved("/redirect/b"), "/b": ok()}, requests=2,
     expect={"hops": [("http://127.0.0.1:{http}/redirect/data.csv", 302)], "permanent_url": None,
             "final_url": "http://127.0.0.1:{http}/redirect/b"})  # fmt: skip
for _status in (301, 303, 307, 308):
    good(f"redirect-{_status}", {"/data.csv": moved(f"/redirect-{_status}/b", f"{_status} x"), "/b": ok()}, requests=2,
         expect={"permanent_url": f"http://127.0.0.1:{{http}}/redirect-{_status}/b" if _status in (301, 308) else None})  # fmt: skip
good("redirect-mixed", {"/data.csv": moved("b", "301 x"), "/b": moved("c", "302 x"), "/c": ok()}, requests=3,
     expect={"permanent_url": None})  # fmt: skip
good("redirect-relative", {"/data.csv": moved("../redirect-relative/./b?c=%41"), "/b": ok()}, requests=2)
good("redirect-fragment", {"/data.csv": moved("b#part"), "/b": ok()}, requests=2)
good("redirect-utf8", {"/data.csv": moved("/redirect-utf8/\xc3\xa4 b"), "/%C3%A4%20b": ok()}, requests=2)
good("redirect-other-host", {"/data.csv": moved("http://www.data.example:{http}/redirect-other-host/b"), "/b": ok()},
     requests=2)  # fmt: skip
good(
    "redirect-body-ignored",
    {"/data.csv": lambda talk: _endless(talk, moved("b"), b"x" * 4096), "/b": ok()},
    requests=2,
)
good(
    "redirect-ten",
    {**{f"/{n}": moved(f"{n + 1}") for n in range(9)}, "/data.csv": moved("0"), "/9": ok()},
    requests=11,
)
good("redirect-cookie", lambda talk: _cookie_wall(talk), requests=2)
row("redirect-eleven", {**{f"/{n}": moved(f"{n + 1}") for n in range(20)}, "/data.csv": moved("0")},
    "redirect redirect-too-many", "failing", 11)  # fmt: skip
row(
    "redirect-loop",
    {"/data.csv": moved("b"), "/b": moved("data.csv")},
    "redirect redirect-loop",
    "failing",
    4,
)
row("redirect-self", moved("data.csv"), "redirect redirect-loop", "failing", 2)
row("redirect-nowhere", answer("302 Found"), "redirect redirect-nowhere", "failing")
row("redirect-ftp", moved("ftp://127.0.0.1/x"), "redirect redirect-scheme", "failing")
row("redirect-javascript", moved("javascript:alert(1)"), "redirect redirect-scheme", "failing")
row("redirect-file", moved("file:///etc/passwd"), "redirect redirect-scheme", "failing")
row("redirect-data", moved("data:text/plain,x"), "redirect redirect-scheme", "failing")
row("redirect-nonsense", moved("http://[::1"), "redirect redirect-bad-url", "failing")
row("redirect-bad-port", moved("http://127.0.0.1:25/"), "refused-by-policy port-refused", "not-sure")
row("redirect-private", moved("http://10.0.0.1/secret"), "refused-by-policy address-refused", "not-sure")
row(
    "redirect-metadata",
    moved("http://169.254.169.254/latest/meta-data/"),
    "refused-by-policy address-refused",
    "not-sure",
)
row(
    "redirect-private-name",
    moved("http://inside.example/secret"),
    "refused-by-policy address-refused",
    "not-sure",
)
row("redirect-unknown-name", moved("http://nowhere.example/"), "gone dns-not-found", "failing")
row("redirect-to-404", {"/data.csv": moved("b"), "/b": answer("404 x")}, "gone http-gone", "broken", 2)
row("redirect-refused", moved("http://127.0.0.1:{refused}/"), "unreachable refused", "failing")


async def _cookie_wall(talk: Conversation) -> None:
    known = "seen=yes" in talk.headers.get("cookie", "")
    await talk.send(ok() if known else moved("/redirect-cookie/data.csv", "302 Found", "Set-Cookie: seen=yes; Path=/"))


# -- names and addresses -----------------------------------------------------------------------------------------

row(
    "name-unknown",
    b"",
    "gone dns-not-found",
    "failing",
    0,
    url="http://nowhere.example/x.csv",
    facts={"host": "nowhere.example"},
)
row("name-private", b"", "refused-by-policy address-refused", "not-sure", 0, url="http://inside.example/x.csv")
row("address-private", b"", "refused-by-policy address-refused", "not-sure", 0, url="http://192.168.1.1/x.csv")
row("address-loopback-not-allowed", ok(), "refused-by-policy address-refused", "not-sure", 0,
    policy={"allowed_addresses": ()})  # fmt: skip
row("address-odd-spelling", ok(), "refused-by-policy address-refused", "not-sure", 0,
    url="http://0x7f.1:{http}/{name}/data.csv", policy={"allowed_addresses": ()})  # fmt: skip
row("port-bad", b"", "refused-by-policy port-refused", "not-sure", 0, url="http://127.0.0.1:22/")
row("scheme-unknown", b"", "refused-by-policy scheme-refused", "not-sure", 0, url="gopher://127.0.0.1/")
row("scheme-ftp-off", b"", "refused-by-policy ftp-off", "not-sure", 0, url="ftp://127.0.0.1/x.csv")
row("prose", b"", "bad-url url-prose", "broken", 0, url="see the website")
row("empty-url", b"", "bad-url url-empty", "broken", 0, url="  ")
row("nul-in-url", b"", "bad-url url-nul", "broken", 0, url="http://127.0.0.1/\0")

# -- soft failures ------------------------------------------------------------------------------------------------

row("soft-empty", ok(b""), "soft-404 soft-empty", "not-sure", expect={"temp_path": None})
row("soft-empty-chunked", chunked(), "soft-404 soft-empty", "not-sure")
row(
    "soft-empty-gzip",
    coded(gzip.compress(b""), "gzip"),
    "soft-404 soft-empty",
    "not-sure",
    1,
    len(gzip.compress(b"")),
)
row("soft-blank", ok(b" \r\n"), "soft-404 soft-empty", "not-sure", 1, 3)
for _format in ("CSV", "xls", "text/csv", ".zip", "GeoJSON", "XML"):
    row(f"soft-html-{_format.strip('.').replace('/', '-')}", ok(PAGE, kind="text/html"), "soft-404 soft-html", "not-sure", 1,
        len(PAGE), request={"format": _format}, facts={"format": _format})  # fmt: skip
row("soft-html-after-comment", ok(b"\xef\xbb\xbf <!-- x -->\n<HTML><body>", kind="text/csv"), "soft-404 soft-html", "not-sure",
    1, 27, request={"format": "CSV"})  # fmt: skip
row("soft-html-large-stops-early", ok(b"<html>" + b"x" * 80_000, kind="text/html"), "soft-404 soft-html", "not-sure", 1,
    (16_384, 80_006), request={"format": "CSV"})  # fmt: skip
row(
    "soft-root",
    {"/data.csv": moved("http://127.0.0.1:{http}/")},
    "soft-404 soft-root",
    "not-sure",
    2,
    len(PAGE),
)
for _title in (
    "404 - File not found",
    "Page not found | City of X",
    "Seite nicht gefunden",
    "Error 404",
    "Página no encontrada",
):
    _page = f"<html><head><title>{_title}</title></head></html>".encode()
    row(f"soft-page-{len(ROWS)}", ok(_page, kind="text/html"), "soft-404 soft-not-found-page", "not-sure", 1, len(_page),
        request={"format": "HTML"}, facts={"title": _title})  # fmt: skip
for _title in ("Route 404 to the harbour", "Lost and found", "Errors in measurement", "How 404 people live"):
    _page = f"<html><head><title>{_title}</title></head></html>".encode()
    good(f"no-soft-page-{len(ROWS)}", ok(_page, kind="text/html"), _page, request={"format": "HTML"})
_EXCEPTION = (
    b'<?xml version="1.0"?>\n<!DOCTYPE ServiceExceptionReport SYSTEM "http://x/y.dtd">\n<ServiceExceptionReport version="1.1.1">'
    b'<ServiceException code="LayerNotDefined">Layer &lt;x&gt; is not there</ServiceException></ServiceExceptionReport>'
)
_OWS = (
    b'<ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/1.1"><ows:Exception exceptionCode="NoApplicableCode">'
    b"<ows:ExceptionText><![CDATA[no such type]]></ows:ExceptionText></ows:Exception></ows:ExceptionReport>"
)
row("soft-service-exception", ok(_EXCEPTION, kind="application/vnd.ogc.se_xml"), "soft-404 soft-service-exception", "broken", 1,
    len(_EXCEPTION), facts={"message": "Layer <x> is not there"})  # fmt: skip
row("soft-ows-exception", ok(_OWS, kind="text/xml"), "soft-404 soft-service-exception", "broken", 1, len(_OWS),
    facts={"message": "no such type"})  # fmt: skip
for _code, _what, _verdict in (
    (400, "soft-404 soft-arcgis-error", "broken"),
    (404, "soft-404 soft-arcgis-error", "broken"),
    (500, "soft-404 soft-arcgis-failure", "failing"),
    (499, "blocked arcgis-login", "not-sure"),
):
    _error = json.dumps({"error": {"code": _code, "message": "Invalid \u201cURL\u201d", "details": []}}).encode()
    row(
        f"soft-arcgis-{_code}",
        ok(_error, kind="application/json"),
        _what,
        _verdict,
        1,
        len(_error),
        facts={"code": _code},
    )
good("json-with-error", ok(b'{"error": null, "data": []}', kind="application/json"), b'{"error": null, "data": []}',
     request={"format": "JSON"})  # fmt: skip

# -- OGC services -------------------------------------------------------------------------------------------------

_CAPABILITIES = b'<?xml version="1.0"?><WMS_Capabilities version="1.3.0"></WMS_Capabilities>'


def _service(bare: bytes, good: bytes = ok(_CAPABILITIES, kind="text/xml")) -> Serve:
    async def serve(talk: Conversation) -> None:
        await talk.send(good if "REQUEST=GetCapabilities" in talk.target and "SERVICE=W" in talk.target else bare)

    return serve


_BAD = answer("400 Bad Request", b"what?")
good("ogc-by-format", _service(_BAD), _CAPABILITIES, requests=2, request={"format": "WMS"},
     url="http://127.0.0.1:{http}/{name}/map")  # fmt: skip
good(
    "ogc-by-path",
    _service(_BAD),
    _CAPABILITIES,
    requests=2,
    url="http://127.0.0.1:{http}/{name}/geoserver/wfs",
)
good(
    "ogc-by-service",
    _service(_BAD),
    _CAPABILITIES,
    requests=2,
    url="http://127.0.0.1:{http}/{name}/x?map=a&SERVICE=WMS",
)
good("ogc-exception-first", _service(ok(_EXCEPTION)), _CAPABILITIES, requests=2, wire=len(_EXCEPTION) + len(_CAPABILITIES),
     request={"format": "wms"})  # fmt: skip
good("ogc-well", _service(ok(PAGE, kind="text/html")), PAGE, requests=1, request={"format": "WMS"})
row("ogc-dead", _service(_BAD, answer("500 x")), "server-error http-status", "failing", 2, request={"format": "WMS"},
    facts={"status": 400}, expect={"http_status": 400})  # fmt: skip
row("ogc-gone", answer("404 x"), "gone http-gone", "broken", 2, request={"format": "WMS"})
row("ogc-question", answer("400 x"), "server-error http-status", "failing", 1, request={"format": "WMS"},
    url="http://127.0.0.1:{http}/{name}/wms?service=WMS&request=GetMap")  # fmt: skip
row("not-ogc", answer("400 x"), "server-error http-status", "failing", 1, request={"format": "CSV"})

# -- TLS ----------------------------------------------------------------------------------------------------------


def tls(kind: str, what: str = "", verdict: str = "failing", requests: int = 0, **more: Any) -> None:
    """A row over TLS with the certificate ``kind``."""
    more.setdefault("url", f"https://{HOST}:{{{kind}}}/{{name}}/data.csv")
    if what:
        row(f"tls-{kind}", ok(), what, verdict, requests, **more)
    else:
        good(f"tls-{kind}", ok(), **more)


tls("good", expect={"certificate.issuer": "Test Root", "certificate.names": (HOST, "127.0.0.1", "::1"),
                    "certificate.expires_soon": False})  # fmt: skip
tls("chain")
tls("soon", expect={"certificate.expires_soon": True})
tls("expired", "tls tls-expired", facts={"date": EXPIRED_ON, "host": HOST},
    expect={"certificate.issuer": "Test Root", "certificate.expires_soon": False})  # fmt: skip
tls("expired-issuer", "tls tls-expired-issuer", facts={"date": EXPIRED_ON, "issuer": "Old R3"})
tls("not-yet", "tls tls-not-yet-valid", facts={"date": VALID_FROM})
tls("wrong-host", "tls tls-wrong-host", facts={"names": "other.example, www.other.example", "host": HOST})
tls("no-names", "tls tls-wrong-host", facts={"names": HOST})
tls("self-signed", "tls tls-self-signed")
tls("unknown", "tls tls-unknown-issuer", facts={"issuer": "Unknown Root"})
tls("unknown-long", "tls tls-unknown-issuer", facts={"issuer": "Unknown Root"})
tls("unknown-short", "tls tls-incomplete-or-unknown", facts={"issuer": "Unknown Root"})
tls("incomplete", "tls tls-incomplete-chain", facts={"issuer": "R11"})
tls("incomplete-unsaid", "tls tls-incomplete-or-unknown", facts={"issuer": "R11"})
tls("wants-certificate", "unreachable tls-closed")
for _name, _what, _limits in (
    ("tls-alert", "unreachable tls-alert", {}),
    ("tls-too-old", "unreachable tls-too-old", {}),
    ("tls-plain", "unreachable tls-not-spoken", {}),
    ("closing-after-hello", "unreachable tls-closed", {}),
    ("resetting", "unreachable reset", {}),
    ("silent", "unreachable tls-timeout", {"connect_timeout": 0.5}),
    ("tls-drip", "unreachable tls-timeout", {"connect_timeout": 0.5}),
):
    row(
        f"handshake-{_name}",
        b"",
        _what,
        "failing",
        0,
        url=f"https://{HOST}:{{{_name}}}/",
        limits=_limits,
        seconds=(0, 2),
    )
good("tls-by-address", ok(), url="https://127.0.0.1:{good}/{name}/data.csv")
good("tls-not-verified", ok(), url=f"https://{HOST}:{{self-signed}}/{{name}}/data.csv", policy={"verify_https": False},
     expect={"certificate.subject": HOST})  # fmt: skip
row("tls-other-trust", ok(), "tls tls-incomplete-or-unknown", "failing", 0, url=f"https://{HOST}:{{good}}/{{name}}/data.csv",
    policy={"ca_bundle": None})  # fmt: skip
row("tls-bundle-missing", ok(), "own-fault bad-ca-bundle", "held", 0, url=f"https://{HOST}:{{good}}/{{name}}/data.csv",
    policy={"ca_bundle": "/nowhere/bundle.pem"})  # fmt: skip
good(
    "redirect-to-tls",
    {"/data.csv": moved(f"https://{HOST}:{{good}}/redirect-to-tls/b"), "/b": ok()},
    requests=2,
)
row(
    "redirect-to-bad-tls",
    moved(f"https://{HOST}:{{expired}}/redirect-to-bad-tls/b"),
    "tls tls-expired",
    "failing",
    1,
)
row("tls-cut", lambda talk: _cut(talk, ok(CSV[:50], length=len(CSV))), "server-error truncated", "failing", 1, 50,
    url=f"https://{HOST}:{{good}}/{{name}}/data.csv")  # fmt: skip
good("tls-chunked", chunked(CSV), url=f"https://{HOST}:{{good}}/{{name}}/data.csv")
row("tls-drip-body", lambda talk: _drip_body(talk), "unreachable too-slow", "failing", 1, (1, 100), limits=FLOOR,
    url=f"https://{HOST}:{{good}}/{{name}}/data.csv", seconds=(0.4, 2))  # fmt: skip


async def _cut(talk: Conversation, data: bytes) -> None:
    await talk.send(data)
    await _pause(0.05)
    talk.cut()


# -- check only ---------------------------------------------------------------------------------------------------

LARGE = 80_000


def check(
    name: str, serve: Serve, requests: int, what: str = "ok ok-checked", verdict: str = "ok", **more: Any
) -> None:
    more["request"] = {"check_only": True, **more.get("request", {})}
    row(name, serve, what, verdict, requests, more.pop("bytes_read", (0, 5_000)), **more)


def _by_method(head: bytes, ranged: bytes, whole: bytes) -> Serve:
    async def serve(talk: Conversation) -> None:
        if talk.method == "HEAD":
            await talk.send(head)
        elif "range" in talk.headers:
            assert talk.headers["range"] == "bytes=0-"
            await talk.send(ranged)
        else:
            await talk.send(whole)

    return serve


_PART = answer("206 Partial Content", b"x" * LARGE, f"Content-Range: bytes 0-{LARGE - 1}/{LARGE}")
_WHOLE = ok(b"x" * LARGE)
_NO = answer("405 x")
check("check-head", ok(), 1, bytes_read=0, expect={"size": len(CSV), "hints": {"head": True}, "temp_path": None})
check(
    "check-head-405",
    _by_method(_NO, _PART, _WHOLE),
    2,
    expect={"size": LARGE, "hints": {"head": False, "ranges": True}},
)
check("check-head-404", _by_method(answer("404 x"), _PART, _WHOLE), 2)
check("check-head-403", _by_method(answer("403 x"), _PART, _WHOLE), 2)
check("check-head-500", _by_method(answer("500 x"), _PART, _WHOLE), 2)
check("check-head-garbage", _by_method(b"nonsense", _PART, _WHOLE), 2)
check("check-head-closes", _by_method(b"", _PART, _WHOLE), 2)
check("check-head-204", _by_method(answer("204 x", length=None), _PART, _WHOLE), 2)
check(
    "check-head-html",
    _by_method(ok(b"", kind="text/html", length=9), _PART, _WHOLE),
    2,
    request={"format": "CSV"},
)
check("check-head-zero", _by_method(ok(b""), _PART, _WHOLE), 2)
check("check-head-hangs", lambda talk: _hang_on_head(talk), 2, limits=SHORT, seconds=(0.3, 2))
check("check-head-redirects-astray", lambda talk: _astray(talk), 2)
check("check-ranges-ignored", _by_method(_NO, _WHOLE, _WHOLE), 2)
check(
    "check-ranges-416",
    _by_method(_NO, answer("416 x"), _WHOLE),
    3,
    expect={"hints": {"head": False, "ranges": False}},
)
check("check-ranges-500", _by_method(_NO, answer("500 x"), _WHOLE), 3)
check("check-ranges-403", _by_method(_NO, answer("403 x"), _WHOLE), 3)
check("check-ranges-closes", _by_method(_NO, b"HTTP/1.1", _WHOLE), 3)
check("check-ranges-from-elsewhere", _by_method(_NO, _PART.replace(b"bytes 0-", b"bytes 9-"), _WHOLE), 3)
check(
    "check-hinted",
    _by_method(_NO, answer("416 x"), _WHOLE),
    1,
    request={"hints": {"head": False, "ranges": False}},
)
check("check-hinted-head", _by_method(_NO, _PART, _WHOLE), 1, request={"hints": {"head": False}})
check("check-404", answer("404 x"), 2, "gone http-gone", "broken", expect={"hints": {}})
check("check-403", answer("403 x"), 3, "blocked http-blocked", "not-sure", expect={"hints": {}})
check("check-503", answer("503 x"), 2, "server-error http-status", "failing")
check("check-empty", ok(b""), 2, "soft-404 soft-empty", "not-sure")
check(
    "check-soft-html",
    ok(PAGE, kind="text/html"),
    2,
    "soft-404 soft-html",
    "not-sure",
    request={"format": "CSV"},
)
check("check-endless", lambda talk: _endless(talk, ok(b"", length=None), b"x" * 4096), 1, bytes_read=(0, 70_000),
      request={"hints": {"head": False}})  # fmt: skip
check("check-refused", b"", 0, "unreachable refused", "failing", url="http://127.0.0.1:{refused}/")
check("check-large", ok(b"", length=10**12), 1, expect={"size": 10**12})
check("check-ogc", _service(_BAD), 2, request={"format": "WMS"})
check("check-service-exception", ok(_EXCEPTION), 1, "soft-404 soft-service-exception", "broken",
      url="http://127.0.0.1:{http}/{name}/wms?request=GetMap")  # fmt: skip
check("check-brotli", coded(b"\x0b\x02\x80abc\x03", "br"), 1)
check("check-tls", ok(), 1, url=f"https://{HOST}:{{good}}/{{name}}/data.csv")


async def _hang_on_head(talk: Conversation) -> None:
    await (talk.gone() if talk.method == "HEAD" else talk.send(_PART))


async def _astray(talk: Conversation) -> None:
    await talk.send(moved("http://127.0.0.1:{refused}/") if talk.method == "HEAD" else _PART)
