"""What bench/fuzz/engine.py found, and a little of what it does."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

FOUND = Path(__file__).parents[2] / "support" / "found_bytes.jsonl"
LINES = [json.loads(line) for line in FOUND.read_text().splitlines()]


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line['target']}-{line['data'][:12]}")
def test_what_was_found_holds_now(line: dict[str, str]) -> None:
    TARGETS[line["target"]](base64.b64decode(line["data"]))


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(target: str, data: bytes) -> None:
    TARGETS[target](data)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"\r\nHTTP/1.1 206 x\r\nContent-Encoding: gzip\r\n\r\n"]),
    st.binary(max_size=200),
)
def test_any_response(start: bytes, rest: bytes) -> None:
    TARGETS["response"](b"\x10" + start + rest)
