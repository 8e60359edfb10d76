"""``ckan archiver check``: what a publisher sees, and what a script reads."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ckanext.archiver.cli import main

KEYS = {
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
}


@pytest.fixture
def check(ckan_config):
    def run(*args, **kwargs):
        return CliRunner().invoke(main.archiver, ["check", *args], **kwargs)

    return run


def test_a_good_file(check, origin):
    url = origin.serve("/stops.csv", b"id,name\n1,Kirkgate\n")
    result = check(url, "--allow", "127.0.0.0/8", "--json", "--format", "CSV")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert set(found) == KEYS
    assert (found["verdict"], found["is_broken"], found["cached"]) == ("ok", False, True)
    assert (found["requests"], found["size"], found["filename"]) == (1, 19, "stops.csv")


def test_words_for_people(check, origin):
    url = origin.serve("/stops.csv", b"id,name\n1,Kirkgate\n")
    result = check(url, "--allow", "127.0.0.0/8")
    assert "Verdict     ok" in result.stdout
    assert "19 bytes" in result.stdout


def test_check_mode_keeps_nothing(check, origin):
    url = origin.serve("/stops.csv", b"id,name\n1,Kirkgate\n")
    found = json.loads(check(url, "--allow", "127.0.0.0/8", "--json", "--mode", "check").stdout)
    assert (found["verdict"], found["cached"]) == ("ok", False)


@pytest.mark.parametrize(
    ("url", "code", "cause"),
    [
        ("see our website", 1, "bad-url"),
        ("ftp://files.example.org/a.csv", 2, "refused-by-policy"),
        ("http://10.1.2.3:8080/", 2, "refused-by-policy"),
        ("javascript:alert(1)", 2, "refused-by-policy"),
        ("http://\x00/", 1, "bad-url"),
    ],
)
def test_the_exit_code_says_what_the_verdict_is(check, url, code, cause):
    result = check(url, "--json")
    assert (result.exit_code, json.loads(result.stdout)["cause"]) == (code, cause)


def test_several_links_are_an_array_in_their_order(check):
    result = check("one", "two", "--json")
    assert [found["url"] for found in json.loads(result.stdout)] == ["one", "two"]
    assert result.exit_code == 1


def test_broken_outweighs_not_sure(check):
    assert check("ftp://files.example.org/a", "prose here").exit_code == 1


def test_lines_of_standard_input_give_lines_of_json(check):
    text = 'see our website\n\n{"url": "ftp://x.example/y", "id": 7, "format": "CSV"}\n'
    result = check("-", "--json", input=text)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line.get("id") for line in found} == {None, 7}
    assert len(found) == 2
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "Missing argument 'URL...'"),
        (("--mode", "look", "x"), "Invalid value for '--mode'"),
        (("--allow", "10.0.0.0/99", "x"), "'10.0.0.0/99'"),
        (("--ca-bundle", "/no/file", "x"), "Invalid value for '--ca-bundle'"),
        (("--nonsense", "x"), "--nonsense"),
        (("-", "x"), "Give either URLs or -, not both."),
    ],
)
def test_bad_usage_exits_with_3_and_a_message(check, args, told):
    result = check(*args)
    assert result.exit_code == 3
    assert told in result.output.partition("Error: ")[2]
    assert "Traceback" not in result.output


def test_a_line_that_is_no_link_is_named(check):
    result = check("-", input='{"id": 3}\n')
    assert result.exit_code == 3
    assert "Line 1" in result.output
