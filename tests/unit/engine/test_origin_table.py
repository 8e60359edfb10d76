"""Every behaviour of the hostile origin: the cause, the verdict, and what it cost in requests, bytes and seconds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ckanext.archiver.engine import addresses, fetch, reasons
from ckanext.archiver.engine.outcome import FetchRequest, Limits, Outcome, Policy
from ckanext.archiver.verdict import History, Rules, judge
from origin import not_the_file as not_the_file  # adds rows to the table
from origin.behaviours import LIMIT, ROOT, ROWS, Case
from origin.certificates import HOST, Authority
from origin.server import HostileOrigin

NAMES = {
    HOST: "127.0.0.1",
    "www." + HOST: "127.0.0.1",
    "inside.example": "10.1.2.3",
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileOrigin]:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    cases = {"": ROOT, **{case.name: case.serve for case in ROWS}}
    with HostileOrigin(cases, authority) as started:
        yield started


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the tests; every other one is unknown."""

    def getaddrinfo(host: str, port: int) -> list[Any]:
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (NAMES[host], port))]

    monkeypatch.setattr(addresses, "getaddrinfo", getaddrinfo)


def visit(case: Case, origin: HostileOrigin, spool: Path) -> Outcome:
    limits = {"max_content_length": LIMIT, "total_timeout": 20, **case.limits}
    policy: dict[str, Any] = {
        "allowed_addresses": ("127.0.0.0/8", "::1"),
        "ca_bundle": str(origin.authority.bundle),
    }
    request = FetchRequest(url=filled(case.url, origin, case.name), **case.request)
    return fetch.fetch(request, limits=Limits(**limits), policy=Policy(**{**policy, **case.policy}), spool=spool)


def filled(text: str, origin: HostileOrigin, name: str) -> str:
    for port, number in origin.ports.items():
        text = text.replace(f"{{{port}}}", str(number))
    return text.replace("{name}", name)


def test_there_are_enough_of_them() -> None:
    assert len(ROWS) >= 100
    assert len({case.name for case in ROWS}) == len(ROWS)


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_behaviour(case: Case, origin: HostileOrigin, tmp_path: Path) -> None:
    origin.requests.clear()
    outcome = visit(case, origin, tmp_path)
    # Whether an alert is still read after the close depends on the release of OpenSSL.
    also = {"unreachable tls-closed": "unreachable tls-alert"}.get(case.what, case.what)
    assert f"{outcome.cause} {outcome.detail}" in (case.what, also), reasons.reason(outcome.detail, outcome.facts)
    judgement = judge(outcome.cause, outcome.detail, History(), Rules(), datetime.now(timezone.utc))
    assert ("held" if judgement.held else judgement.verdict) == case.verdict
    assert outcome.requests == case.requests
    low, high = case.bytes_read if isinstance(case.bytes_read, tuple) else (case.bytes_read, case.bytes_read)
    assert low <= outcome.bytes_read <= high
    assert case.seconds[0] <= outcome.seconds <= case.seconds[1]
    for name, value in case.facts.items():
        assert outcome.facts[name] == value
    for name, value in case.expect.items():
        assert reached(outcome, name) == expected(value, origin, case.name), name
    files = list(tmp_path.iterdir())
    if case.body is None:
        assert files == []
    else:
        assert files == [outcome.temp_path]
        assert files[0].read_bytes() == case.body
        assert outcome.size == len(case.body)
    assert reasons.reason(outcome.detail, outcome.facts)


def reached(outcome: Outcome, name: str) -> Any:
    found: Any = outcome
    for part in name.split("."):
        found = getattr(found, part)
    return [(hop.url, hop.status) for hop in found] if name == "hops" else found


def expected(value: Any, origin: HostileOrigin, name: str) -> Any:
    if isinstance(value, str):
        return filled(value, origin, name)
    if isinstance(value, list):
        return [(filled(url, origin, name), status) for url, status in value]
    return value
