"""Documentation that cannot rot: what is not documented fails here."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import docutils.core
import pytest
import yaml
from _docs import options, verdicts

import ckanext.archiver
from _demo import showing
from _demo.portal import Link
from _demo.watching import Result
from ckanext.archiver import interfaces, monitoring
from ckanext.archiver.cli import main
from ckanext.archiver.engine.reasons import REASONS
from ckanext.archiver.logic import action
from origin_server import Answer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = Path(ckanext.archiver.__file__).parent
PAGES = sorted([*DOCS.rglob("*.rst"), *ROOT.glob("*.rst")])
# They have directives of Sphinx, or of docs/_sphinx: bin/docs builds them.
OF_THE_SITE_ALONE = [DOCS / "index.rst", *DOCS.glob("reference/*.rst")]


def _text(path):
    return path.read_text(encoding="utf-8")


DECLARATION = yaml.safe_load(_text(PACKAGE / "config_declaration.yaml"))
DECLARED = [option for group in DECLARATION["groups"] for option in group["options"]]
OPTIONS = {option["key"]: option for option in DECLARED}


def _name(path):
    return str(path.relative_to(ROOT))


def _commands(command, path):
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from _commands(sub, f"{path} {name}")
    else:
        yield path, command


COMMANDS = dict(
    command for group in (main.archiver, main.celeryd2) for command in _commands(group, f"ckan {group.name}")
)


def test_an_option_is_declared_once():
    """CKAN does not start with one that is declared twice."""
    assert sorted(option["key"] for option in DECLARED) == sorted(OPTIONS)


@pytest.mark.parametrize("key", sorted(OPTIONS))
def test_an_option_is_documented_with_its_default(key):
    text = _text(DOCS / "configuration.rst")
    found = re.search(rf"^``{re.escape(key)}``\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    assert found, f"{key} is missing from docs/configuration.rst"
    default = OPTIONS[key].get("default", "")
    shown = {True: "true", False: "false"}.get(default, str(default)) if isinstance(default, bool) else str(default)
    assert f"Default: {'``' + shown + '``' if shown else 'not set'}." in found[1]


def test_the_options_are_written_from_the_declaration():
    """``bin/docs --write`` writes them; where a line is broken does not matter here."""
    old = _text(DOCS / "configuration.rst")
    new = options.page(old, _text(PACKAGE / "config_declaration.yaml"))
    assert old.split() == new.split(), "run bin/docs --write"


def test_the_verdicts_are_written_from_the_rules():
    """Each detail has its place, and the page is what the rules say now."""
    placed = [detail for section in verdicts.SECTIONS for detail in section.details]
    assert sorted(placed) == sorted(REASONS)
    assert _text(DOCS / "verdicts.rst").split() == verdicts.page().split(), "run bin/docs --write"


def test_no_option_is_documented_that_does_not_exist():
    text = _text(DOCS / "configuration.rst")
    ours = {key for key in OPTIONS if key.startswith("ckanext-archiver.")}
    assert set(re.findall(r"^``(ckanext-archiver\.[a-z_]+)``$", text, re.MULTILINE)) == ours


@pytest.mark.parametrize("key", sorted(OPTIONS))
def test_an_option_is_described(key):
    assert OPTIONS[key]["description"].strip().endswith(".")


def test_config_reads_every_option_and_no_other():
    source = "".join(map(_text, sorted((PACKAGE / "config").glob("*.py"))))
    named = {key.partition(".")[2] for key in OPTIONS} - {"archive_cloud"}
    assert {name for name in named if f'{name}"' not in source} == set()


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_a_command_is_documented_with_its_options(path):
    text = _text(DOCS / "operations.rst")
    assert f"``{path}" in text
    for param in COMMANDS[path].params:
        if isinstance(param, click.Option) and not param.hidden:
            assert any(f"``{name}" in text or f" {name}" in text for name in param.opts), f"{path} {param.opts}"


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_a_command_has_a_help_text(path):
    assert COMMANDS[path].help


@pytest.mark.parametrize("name", [name for name in dir(action) if name.startswith("archiver_")])
def test_an_action_is_documented(name):
    assert f"``{name}``" in _text(DOCS / "api.rst")


@pytest.mark.parametrize("operation", re.findall(r"``([a-z-]+)``\n", interfaces.IPipe.__doc__))
def test_an_operation_of_the_pipe_is_documented(operation):
    assert f"``{operation}``" in _text(DOCS / "api.rst")


METRICS = set(monitoring.HELP)


def test_there_are_metrics():
    assert {"archiver_waiting", "archiver_broker_up", "archiver_links"} <= METRICS


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_metric_is_documented(name):
    assert re.search(rf"^``{name}``  ", _text(DOCS / "operations.rst"), re.MULTILINE)


ALARMS = re.findall(r"""f"([A-Z][A-Z' ]+[A-Z])\b""", inspect.getsource(monitoring.alarms))


def test_there_are_alarms():
    assert {"NO WORKER", "VERDICTS ARE HELD"} <= set(ALARMS)


@pytest.mark.parametrize("alarm", ALARMS)
def test_what_to_do_about_an_alarm_of_status_is_documented(alarm):
    assert f"``{alarm}" in _text(DOCS / "operations.rst")


def _alerts():
    rules = yaml.safe_load(_text(DOCS / "examples" / "prometheus" / "rules.yml"))
    return [rule["alert"] for group in rules["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("alert", _alerts())
def test_what_to_do_about_an_alert_is_documented(alert):
    assert f"``{alert}``" in _text(DOCS / "operations.rst")


# -- what the documentation names exists ----------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_file_that_is_named_exists(page):
    """``queue/claims.py`` is below the package, ``tests/faults`` and ``bin/check`` below the repository; a bare
    ``store.py`` is in the folder that the paragraph is about."""
    assert [name for name in _files(_text(page)) if not _exists(name)] == []


def _files(text):
    files = re.findall(r"``((?:[\w.-]+/)*[\w-]+\.(?:py|yaml|toml|rst|pot|txt)|[a-z_]+/)``", text)
    return {*files, *re.findall(r"``((?:tests|bin|bench|docs|\.ci|\.github)/[\w./-]+)", text)}


def _exists(name):
    if "/" not in name and any(PACKAGE.rglob(name)):
        return True
    return any((folder / name).exists() for folder in (ROOT, PACKAGE))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_function_that_is_named_is_in_the_file_before_it(page):
    """In "``queue/claims.py`` (``claim``, ``finish``)" the file has the functions."""
    for file, names in re.findall(r"``([\w/]+\.py)``\s+\(((?:[^()]|\n)+)\)", _text(page)):
        source = _text(PACKAGE / file)
        for name in re.findall(r"``([A-Za-z_.]+)``", names):
            assert all(re.search(rf"(def|class) {part}\b", source) for part in name.split(".")), (file, name)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_that_is_linked_exists(page):
    links = re.findall(r"<([\w./-]+\.rst)>`_", _text(page))
    links += re.findall(r"^\.\. (?:image|figure):: (\S+)", _text(page), re.MULTILINE)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_command_that_is_shown_parses(page):
    """Each ``ckan archiver …`` of the documentation has a command of that name with these options."""
    for line in _shown_commands(_text(page)):
        group, *words = line
        command = {"archiver": main.archiver, "celeryd2": main.celeryd2}[group]
        while isinstance(command, click.Group) and words:
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        if not isinstance(command, click.Group):
            _assert_options(command, words)


def test_a_command_that_the_demo_suggests_parses():
    link = Link("Spending", "CSV", "/a.csv", Answer(), "")
    text = showing.what_to_try(Result("spending", link, "id", "http://127.0.0.1:1/a.csv", {}))
    shown = list(_shown_commands(text))
    assert len(shown) >= 5
    for _, name, *words in shown:
        _assert_options(main.archiver.commands[name], words)


def _shown_commands(text):
    text = re.sub(r"\s+…", "", text)
    for found in re.finditer(r"ckan(?: -c \S+)? (archiver|celeryd2)((?: +[\w@./:\[\]-]+)*)", text):
        words = found[2].split()
        if words and re.fullmatch(r"[a-z][a-z-]+", words[0]):
            yield [found[1], *words]


def _assert_options(command, words):
    known = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)} | {"--help"}
    assert [word for word in words if word.startswith("-") and word != "-" and word not in known] == [], words


def test_the_layers_are_those_of_the_contract():
    contract = re.search(r"^layers = \[\n(.*?)^\]", _text(ROOT / "pyproject.toml"), re.MULTILINE | re.DOTALL)
    layers = [line.split(" | ") for line in re.findall(r'"([^"]+)"', contract[1])]
    drawn = re.search(r"lower layers::\n\n((?:    .+\n)+)", _text(DOCS / "architecture.rst"))
    assert [line.replace("/", "").split() for line in drawn[1].splitlines()] == layers


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_line_has_120_characters_at_most(page):
    """Save one that is shown as it is typed."""
    assert [line for line in _text(page).splitlines() if len(line) > 120 and not line.startswith("    * * * * *")] == []


TERMS = re.findall(r"^([a-z][a-z -]+)\n    \S", _text(DOCS / "glossary.rst"), re.MULTILINE)


def test_the_glossary_has_terms():
    assert {"claim", "lease", "breaker", "verdict", "cause", "outcome", "group commit"} <= set(TERMS)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_of_the_glossary_is_used(term):
    """In the code or on another page: a word that went out of use leaves the glossary."""
    # "host observation" is the class HostObservation, "not sure" the member NOT_SURE.
    pattern = re.compile(r"[\s_-]?".join(term.split()), re.IGNORECASE)
    sources = [*PACKAGE.rglob("*.py"), *(page for page in PAGES if page.name != "glossary.rst")]
    assert any(pattern.search(_text(path)) for path in sources)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in OF_THE_SITE_ALONE], ids=_name)
def test_a_page_is_valid_restructured_text(page):
    warnings = []
    docutils.core.publish_doctree(
        _text(page),
        source_path=str(page),
        settings_overrides={"report_level": 2, "halt_level": 5, "warning_stream": _Lines(warnings)},
    )
    assert warnings == []


class _Lines:
    def __init__(self, lines):
        self.lines = lines

    def write(self, text):
        if text.strip():
            self.lines.append(text)
