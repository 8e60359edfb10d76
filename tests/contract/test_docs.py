"""Documentation that cannot rot: what is not documented fails here."""

from __future__ import annotations

import re
from pathlib import Path

import click
import docutils.core
import pytest
import yaml

import ckanext.archiver
from ckanext.archiver import interfaces
from ckanext.archiver.cli import main
from ckanext.archiver.logic import action

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

DECLARATION = yaml.safe_load((Path(ckanext.archiver.__file__).parent / "config_declaration.yaml").read_text())
OPTIONS = {option["key"]: option for group in DECLARATION["groups"] for option in group["options"]}


def _commands(command, path):
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from _commands(sub, f"{path} {name}")
    else:
        yield path, command


COMMANDS = dict(
    command for group in (main.archiver, main.celeryd2) for command in _commands(group, f"ckan {group.name}")
)


@pytest.mark.parametrize("key", sorted(OPTIONS))
def test_an_option_is_documented_with_its_default(key):
    text = (DOCS / "configuration.rst").read_text()
    found = re.search(rf"^``{re.escape(key)}``\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    assert found, f"{key} is missing from docs/configuration.rst"
    default = OPTIONS[key].get("default", "")
    shown = {True: "true", False: "false"}.get(default, str(default)) if isinstance(default, bool) else str(default)
    assert f"Default: {'``' + shown + '``' if shown else 'not set'}." in found[1]


def test_no_option_is_documented_that_does_not_exist():
    text = (DOCS / "configuration.rst").read_text()
    ours = {key for key in OPTIONS if key.startswith("ckanext-archiver.")}
    assert set(re.findall(r"^``(ckanext-archiver\.[a-z_]+)``$", text, re.MULTILINE)) == ours


@pytest.mark.parametrize("key", sorted(OPTIONS))
def test_an_option_is_described(key):
    assert OPTIONS[key]["description"].strip().endswith(".")


def test_config_reads_every_option_and_no_other():
    source = (Path(ckanext.archiver.__file__).parent / "config.py").read_text()
    named = {key.partition(".")[2] for key in OPTIONS} - {"archive_cloud"}
    assert {name for name in named if f'{name}"' not in source} == set()


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_a_command_is_documented_with_its_options(path):
    text = (DOCS / "operations.rst").read_text()
    assert f"``{path}" in text
    for param in COMMANDS[path].params:
        if isinstance(param, click.Option):
            assert any(f"``{name}" in text or f" {name}" in text for name in param.opts), f"{path} {param.opts}"


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_a_command_has_a_help_text(path):
    assert COMMANDS[path].help


@pytest.mark.parametrize("name", [name for name in dir(action) if name.startswith("archiver_")])
def test_an_action_is_documented(name):
    assert f"``{name}``" in (DOCS / "api.rst").read_text()


@pytest.mark.parametrize("operation", re.findall(r"``([a-z-]+)``\n", interfaces.IPipe.__doc__))
def test_an_operation_of_the_pipe_is_documented(operation):
    assert f"``{operation}``" in (DOCS / "api.rst").read_text()


@pytest.mark.parametrize("path", sorted([*DOCS.glob("*.rst"), *ROOT.glob("*.rst")]), ids=lambda path: path.name)
def test_a_page_is_valid_restructured_text(path):
    warnings = []
    docutils.core.publish_doctree(
        path.read_text(),
        settings_overrides={"report_level": 2, "halt_level": 5, "warning_stream": _Lines(warnings)},
    )
    assert warnings == []


class _Lines:
    def __init__(self, lines):
        self.lines = lines

    def write(self, text):
        if text.strip():
            self.lines.append(text)
