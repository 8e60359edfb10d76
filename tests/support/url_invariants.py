"""What must hold for every string there is: used by the tests and by bench/fuzz/urls.py."""

from __future__ import annotations

import re

from ckanext.archiver.engine import addresses, reasons, urls
from ckanext.archiver.engine.outcome import Cause

WIRE = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
HOST = re.compile(r"[a-z0-9_.-]{1,253}|[0-9a-f:]{2,39}")
STRANGER = addresses.Guard()


def check(text: str) -> urls.Target | urls.BadUrl:
    """Read a string as a link in every way there is.

    :raises AssertionError: something does not hold
    """
    found = urls.normalise(text)
    urls.redact(text)
    urls.normalise(urls.join("http://data.example/a/b?c", text))
    if isinstance(found, urls.Target):
        _check_target(found)
        header = text.encode("utf-8").decode("latin-1")
        assert urls.normalise(urls.join("http://other.example/a", header)) == found, "a link may be a Location too"
        assert urls.host_of(text) == found.host
    else:
        assert found.cause in (Cause.BAD_URL, Cause.REFUSED_BY_POLICY)
        assert reasons.reason(found.detail, found.facts).endswith(".")
        assert urls.host_of(text) == ""
    return found


def _check_target(target: urls.Target) -> None:
    assert target.scheme in urls.DEFAULT_PORTS
    assert WIRE.fullmatch(target.request_target)
    assert HOST.fullmatch(target.host)
    assert not target.host.endswith(".")
    assert 0 < target.port < 65536
    path = target.request_target.partition("?")[0].lower().replace("%2e", ".")
    assert not {".", ".."} & set(path.split("/"))
    # Read again it is the same: nothing is encoded twice, nothing changes its meaning on a second look.
    again = urls.normalise(target.url)
    assert isinstance(again, urls.Target)
    assert (again.url, again.host, again.port) == (target.url, target.host, target.port)
    # What looks like an address was read as one: no resolver is asked what 0x7f.1 may be.
    last = target.host.rpartition(".")[2]
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last) or ":" in target.host:
        assert addresses._address(target.host) is not None
        STRANGER.judge(target.host)
