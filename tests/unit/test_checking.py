"""``checking``: what a publisher is told of a link, and many links side by side."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckanext.archiver import checking
from ckanext.archiver.checking import BadLine, Link
from ckanext.archiver.engine.outcome import Limits, Policy
from origin.behaviours import CSV, _hang, answer, moved, ok
from origin.certificates import HOST, Authority
from origin.server import Conversation, HostileOrigin

KEYS = [
    "url",
    "final_url",
    "verdict",
    "is_broken",
    "cause",
    "reason",
    "http_status",
    "hops",
    "size",
    "mimetype",
    "filename",
    "sha256",
    "certificate",
    "requests",
    "bytes_read",
    "seconds",
    "cached",
]


async def _slow(talk: Conversation) -> None:
    await asyncio.sleep(0.3)
    await talk.send(ok())


CASES: dict[str, Any] = {
    "plain": ok(),
    "missing": answer("404 x"),
    "blocked": answer("403 x"),
    "ill": answer("500 x"),
    "hop": {"*": moved("/plain/x.csv")},
    "slow": _slow,
    "hang": lambda talk: _hang(talk, b""),
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileOrigin]:
    with HostileOrigin(CASES, Authority(tmp_path_factory.mktemp("ca"))) as started:
        yield started


@pytest.fixture
def base(origin: HostileOrigin) -> str:
    return f"http://127.0.0.1:{origin.ports['http']}"


@pytest.fixture
def settings(origin: HostileOrigin) -> dict[str, Any]:
    policy = Policy(allowed_addresses=("127.0.0.0/8",), ca_bundle=str(origin.authority.bundle))
    return {"limits": Limits(total_timeout=10), "policy": policy}


def test_the_keys_and_what_they_say(base: str, settings: dict[str, Any], tmp_path: Path) -> None:
    found = checking.check(Link(f"{base}/hop/x"), spool=tmp_path, **settings)
    assert list(found) == KEYS
    seconds, digest = found.pop("seconds"), found.pop("sha256")
    assert 0 <= seconds < 5
    assert len(digest) == 64
    assert found == {
        "url": f"{base}/hop/x",
        "final_url": f"{base}/plain/x.csv",
        "verdict": "ok",
        "is_broken": False,
        "cause": "ok",
        "reason": "The file was downloaded.",
        "http_status": 200,
        "hops": [{"url": f"{base}/hop/x", "status": 302}],
        "size": len(CSV),
        "mimetype": "text/csv",
        "filename": "x.csv",
        "certificate": None,
        "requests": 2,
        "bytes_read": len(CSV),
        "cached": True,
    }


def test_without_a_place_the_file_is_read_and_not_kept(base: str, settings: dict[str, Any]) -> None:
    found = checking.check(Link(f"{base}/plain/x"), **settings)
    # "cached": a copy would be kept of it.
    assert (found["cached"], found["size"], bool(found["sha256"])) == (True, len(CSV), True)


def test_check_only(base: str, settings: dict[str, Any]) -> None:
    found = checking.check(Link(f"{base}/plain/x"), check_only=True, **settings)
    assert (found["verdict"], found["bytes_read"], found["sha256"]) == ("ok", 0, None)


def test_certificate(origin: HostileOrigin, settings: dict[str, Any]) -> None:
    found = checking.check(Link(f"https://127.0.0.1:{origin.ports['soon']}/plain/x"), **settings)
    assert found["certificate"]["names"] == [HOST, "127.0.0.1", "::1"]
    assert found["certificate"]["expires_soon"] is True
    json.dumps(found)
    found = checking.check(Link(f"https://127.0.0.1:{origin.ports['expired']}/plain/x"), **settings)
    assert found["cause"] == "tls"
    assert found["certificate"]["not_after"][:10] in found["reason"]


@pytest.mark.parametrize(
    ("path", "verdict", "is_broken"),
    [("missing", "broken", True), ("blocked", "not-sure", None), ("ill", "failing", None)],
)
def test_verdicts(base: str, settings: dict[str, Any], path: str, verdict: str, is_broken: bool | None) -> None:
    found = checking.check(Link(f"{base}/{path}/x"), **settings)
    assert (found["verdict"], found["is_broken"]) == (verdict, is_broken)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "our page",
        "http://\ud800/",
        "a\0b",
        "javascript:x",
        "x" * 10_000_000,
        "http://joe:secret@127.0.0.1:99999/",
    ],
    ids=range(7),
)
def test_any_url_can_be_printed(url: str, settings: dict[str, Any]) -> None:
    found = checking.check(Link(url), **settings)
    text = json.dumps(found, ensure_ascii=False)
    text.encode("utf-8")
    assert len(text) < 10_000
    assert "secret" not in text


def _recovering(times: int) -> Callable[[Conversation], Any]:
    """A server error so many times, then the file."""
    failures = itertools.count()

    async def serve(talk: Conversation) -> None:
        await talk.send(answer("503 x") if next(failures) < times else ok())

    return serve


def test_retries_are_those_of_a_worker(origin: HostileOrigin, base: str, settings: dict[str, Any]) -> None:
    begun = time.monotonic()
    for times, verdict, attempts in ((0, "ok", 1), (2, "ok", 3), (9, "failing", 3)):
        origin.cases["recovering"] = _recovering(times)  # type: ignore[index]
        found = checking.check(Link(f"{base}/recovering/x"), retry_delays=(0.1, 0.2), **settings)
        assert (found["verdict"], found["attempts"]) == (verdict, attempts)
    assert time.monotonic() - begun >= 0.6
    # What another attempt cannot mend is not retried.
    found = checking.check(Link(f"{base}/missing/x"), retry_delays=(30,), **settings)
    assert (found["verdict"], found["attempts"]) == ("broken", 1)
    assert "attempts" not in checking.check(Link(f"{base}/plain/x"), **settings)


def test_a_stop_ends_the_pause_before_a_retry(origin: HostileOrigin, base: str, settings: dict[str, Any]) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    begun = time.monotonic()
    found = checking.check(Link(f"{base}/ill/x"), retry_delays=(60,), stop=stop, **settings)
    assert found["attempts"] == 1
    assert time.monotonic() - begun < 5


def test_id_comes_first_and_back(base: str, settings: dict[str, Any]) -> None:
    found = checking.check(Link(f"{base}/plain/x", id={"a": 1}), **settings)
    assert list(found) == ["id", *KEYS]
    assert found["id"] == {"a": 1}


# -- lines of input -----------------------------------------------------------------------------------------------


def test_lines() -> None:
    lines = [
        "http://a.example/x y.csv\n",
        "\n",
        '{"url": "http://b.example/", "format": "WMS", "id": 7}\r\n',
        '  {"url": "http://c.example/", "format": null}',
        "not a url at all",
    ]
    assert list(checking.links(lines, "CSV")) == [
        Link("http://a.example/x y.csv", "CSV"),
        Link("http://b.example/", "WMS", 7),
        Link("http://c.example/", "CSV"),
        Link("not a url at all", "CSV"),
    ]


@pytest.mark.parametrize("line", ["{", '{"id": 1}', '{"url": 5}', '{"url": "x"} y', "{" * 100_000, '{"url": NaN}'])
def test_bad_lines_say_which(line: str) -> None:
    with pytest.raises(BadLine, match="Line 2"):
        list(checking.links(["http://a.example/", line]))


# -- side by side ---------------------------------------------------------------------------------------------------


def test_side_by_side(base: str, settings: dict[str, Any]) -> None:
    wanted = [Link(f"{base}/slow/{n}", id=n) for n in range(16)]
    begun = time.monotonic()
    found = list(checking.check_many(wanted, workers=16, **settings))
    assert time.monotonic() - begun < 2.5
    assert sorted(result["id"] for result in found) == list(range(16))
    assert {result["verdict"] for result in found} == {"ok"}


def test_results_come_as_they_are_ready_while_input_is_open(base: str, settings: dict[str, Any]) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader) as lines, os.fdopen(writer, "w") as source:
        found = checking.check_many(checking.links(lines), **settings)
        for _ in range(3):
            source.write(f"{base}/plain/x\n")
            source.flush()
            assert next(found)["verdict"] == "ok"
        source.close()
        assert list(found) == []


def test_input_is_read_no_faster_than_results_are_taken(base: str, settings: dict[str, Any]) -> None:
    read = itertools.count()

    def endless() -> Iterator[Link]:
        for number in read:
            yield Link(f"{base}/plain/{number}")

    found = checking.check_many(endless(), workers=2, **settings)
    for _ in range(10):
        next(found)
    found.close()  # type: ignore[attr-defined]  # a generator
    assert next(read) <= 10 + 2 * 2 + 2


def test_giving_up_stops_what_is_in_flight(
    base: str, settings: dict[str, Any], wait_until: Callable[..., None]
) -> None:
    links = [Link(f"{base}/plain/x"), *(Link(f"{base}/hang/{n}") for n in range(4))]
    found = checking.check_many(links, **settings)
    next(found)
    begun = time.monotonic()
    found.close()  # type: ignore[attr-defined]  # a generator
    assert time.monotonic() - begun < 2
    wait_until(lambda: not any(t.name.startswith("check") for t in threading.enumerate()))


def test_a_bad_line_is_told_after_the_results_before_it(base: str, settings: dict[str, Any]) -> None:
    found = checking.check_many(checking.links([f"{base}/plain/x", "{"]), **settings)
    assert next(found)["verdict"] == "ok"
    with pytest.raises(BadLine, match="Line 2"):
        next(found)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [([], 0), ([False], 0), ([False, None], 2), ([None, True], 1), ([True], 1), ([False, True, None], 1)],
)
def test_exit_code(verdicts: list[bool | None], code: int) -> None:
    assert checking.exit_code({"is_broken": value} for value in verdicts) == code
