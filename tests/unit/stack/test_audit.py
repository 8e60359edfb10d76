"""What ``bin/check`` says of known vulnerabilities, from pip-audit's own output."""

from __future__ import annotations

import json
import re

import pytest

from _stack import audit
from _stack.layout import Stack

FOUND = {
    "dependencies": [
        {
            "name": "kombu",
            "version": "5.5.4",
            "vulns": [{"id": "PYSEC-2099-1", "fix_versions": ["5.9"], "aliases": ["CVE-2099-1"], "description": "x"}],
        },
        {"name": "vine", "version": "5.1.0", "vulns": []},
        {"name": "amqp", "skip_reason": "Dependency not found on PyPI and could not be audited: amqp (5.4.2)"},
    ],
    "fixes": [],
}


def test_an_advisory_is_told_with_the_release_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(audit, "say", lambda text, *values: said.append(text % values))
    monkeypatch.setattr(audit, "_report", lambda stack: audit.packages(json.dumps(FOUND), ""))
    assert audit.told(Stack.at("2.12", None))
    assert said[1:] == ["audit: kombu 5.5.4 has PYSEC-2099-1, mended in 5.9"]


@pytest.mark.parametrize(
    ("output", "errors", "sentence"),
    [
        (json.dumps({"dependencies": FOUND["dependencies"][2:]}), "", "the registry in use has none"),
        ("", "WARNING: x\nNameResolutionError: no such host\n", "NameResolutionError: no such host"),
        ("", "", "pip-audit says nothing"),
    ],
)
def test_advisories_that_cannot_be_reached_are_no_vulnerability(
    monkeypatch: pytest.MonkeyPatch, output: str, errors: str, sentence: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr(audit, "say", lambda text, *values: said.append(text % values))
    monkeypatch.setattr(audit, "_report", lambda stack: audit.packages(output, errors))
    assert not audit.told(Stack.at("2.12", None))
    assert said[-1].endswith(f"cannot be reached, so nothing is known: {sentence}")


def test_every_dependency_is_looked_up() -> None:
    for version in ("2.12", "2.11"):
        pins = audit._pins(Stack.at(version, None))
        assert len(pins) >= 14
        assert all(re.fullmatch(r"[\w.-]+==\S+", pin) for pin in pins)
