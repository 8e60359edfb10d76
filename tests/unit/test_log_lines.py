"""Lines of the log that have fields: what comes from outside stays within its value."""

from __future__ import annotations

import io
import json
import logging

import pytest

from ckanext.archiver import log_lines
from ckanext.archiver.log_lines import LogLine


def test_fields_are_logfmt() -> None:
    line = LogLine("checked", verdict="ok", seconds=0.25, status=None, words="two words", empty="")

    assert str(line) == 'checked verdict=ok seconds=0.25 words="two words" empty=""'


@pytest.mark.parametrize(
    "url",
    [
        "http://h.example/a\r\nchecked verdict=broken",
        "http://h.example/\x1b[31mred",
        "http://h.example/\u2028next",
        'http://h.example/" verdict=broken x="',
        "http://h.example/" + 1_000_000 * "a",
        "http://h.example/\ud800",
    ],
)
def test_a_url_can_forge_no_line_and_no_field(url: str) -> None:
    line = str(LogLine("checked", url=url, verdict="ok"))

    assert line.isascii()
    assert line.isprintable()
    assert line.endswith(" verdict=ok")
    assert len(line) < 7 * log_lines.MAX_VALUE
    assert line.count(" verdict=") == 1 + ('\\" verdict' in line or "checked verdict" in line)


def test_credentials_are_not_logged() -> None:
    assert "secret" not in str(LogLine("checked", url="http://user:secret@h.example/a?b"))


def test_json_has_the_fields_beside_the_message() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log_lines.Json())
    log = logging.Logger("ckanext.archiver.test")
    log.addHandler(handler)

    log.info("%s", LogLine("checked", verdict="ok", url="http://u:p@h.example/\n"))
    log.warning("Two %s", "words\nand a line")

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["message"] == "checked"
    assert first["verdict"] == "ok"
    assert first["level"] == "INFO"
    assert first["logger"] == "ckanext.archiver.test"
    assert "u:p" not in first["url"]
    assert second["message"] == "Two words\nand a line"
