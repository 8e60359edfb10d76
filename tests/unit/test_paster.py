"""The lines that people had in 2016, and what becomes of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckanext.archiver.legacy import paster

INI = "/etc/ckan/default/production.ini"

# Every line of the README of 2016, and its like.
LINES = [
    (
        "--plugin=ckanext-archiver archiver init --config=production.ini",
        "ckan -c production.ini archiver init",
    ),
    (
        "--plugin=ckanext-archiver archiver migrate -c production.ini",
        "ckan -c production.ini archiver migrate",
    ),
    (
        "--plugin=ckanext-archiver celeryd2 run all -c development.ini",
        "ckan -c development.ini celeryd2 run all",
    ),
    (
        "--plugin=ckanext-archiver celeryd2 run priority -c production.ini",
        "ckan -c production.ini celeryd2 run priority",
    ),
    (
        "--plugin=ckanext-archiver celeryd2 run bulk -c production.ini",
        "ckan -c production.ini celeryd2 run bulk",
    ),
    (
        "--plugin=ckanext-archiver archiver update rainfall --queue=priority -c production.ini",
        "ckan -c production.ini archiver update rainfall --queue=priority",
    ),
    (
        "--plugin=ckanext-archiver archiver update --queue=priority -c production.ini",
        "ckan -c production.ini archiver update --queue=priority",
    ),
    ("--plugin=ckanext-archiver archiver --help", "ckan archiver --help"),
    # The same in other spellings.
    ("--plugin ckanext-archiver archiver update", "ckan archiver update"),
    ("-c production.ini --plugin=ckanext-archiver archiver init", "ckan -c production.ini archiver init"),
    (
        "archiver --config production.ini update a b --plugin ckanext_archiver",
        "ckan -c production.ini archiver update a b",
    ),
    ("archiver update -cproduction.ini", "ckan -c production.ini archiver update"),
    (
        "--plugin=ckanext-archiver archiver update --queue priority x -c p.ini",
        "ckan -c p.ini archiver update --queue priority x",
    ),
    ("--plugin=ckanext-archiver archiver update -q bulk", "ckan archiver update -q bulk"),
    (
        "--plugin=ckanext-archiver archiver delete-files-larger-than-max",
        "ckan archiver delete-files-larger-than-max-content-length",
    ),
    ("--plugin=ckanext-archiver archiver delete-orphans out.csv", "ckan archiver delete-orphans out.csv"),
]

REPORT_LINES = [
    (
        f"--plugin=ckanext-report report generate --config={INI}",
        f"ckan -c {INI} report generate",
        f"ckan -c {INI} archiver report",
    ),
    (
        "--plugin=ckanext-report report generate broken-links --config=production.ini",
        "ckan -c production.ini report generate broken-links",
        "ckan -c production.ini archiver report",
    ),
]


@pytest.mark.parametrize(("old", "new"), LINES)
def test_an_old_line_becomes_a_new_one(old: str, new: str) -> None:
    assert " ".join(paster.translate(old.split(), report_works=False)) == new


@pytest.mark.parametrize(("old", "theirs", "ours"), REPORT_LINES)
def test_reports_are_those_of_ckanext_report_only_where_it_works(old: str, theirs: str, ours: str) -> None:
    assert " ".join(paster.translate(old.split(), report_works=True)) == theirs
    assert " ".join(paster.translate(old.split(), report_works=False)) == ours


def test_the_tables_of_ckanext_report_are_made_only_where_it_works() -> None:
    line = ["--plugin=ckanext-report", "report", "initdb", "--config=production.ini"]

    assert paster.translate(line, report_works=True) == ["ckan", "-c", "production.ini", "report", "initdb"]
    with pytest.raises(paster.Done, match="nothing to do"):
        paster.translate(line, report_works=False)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--plugin=ckan celeryd run", "knows the plugins ckanext-archiver and ckanext-report, not ckan"),
        ("--plugin=ckanext-qa qa update", "not ckanext-qa"),
        ("--plugin=ckanext-archiver report generate", "archiver, celeryd2; 'report' is none of them"),
        ("--plugin=ckanext-archiver", "'nothing'|nothing is none of them"),
        ("serve production.ini", "'serve' is none of them"),
        ("--plugin=ckanext-archiver archiver init -c", "-c/--config needs a value"),
        ("--plugin=ckanext-report report list", "without it paster knows `report generate"),
    ],
)
def test_what_we_do_not_know_is_refused_in_one_sentence(line: str, told: str) -> None:
    with pytest.raises(paster.Refused, match=told) as refusal:
        paster.translate(line.split(), report_works=False)

    assert "\n" not in str(refusal.value)


def _run(line: str, ckan: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with a ``ckan`` beside its Python that tells what it was given."""
    (tmp_path / "python").symlink_to(sys.executable)
    program = tmp_path / "ckan"
    program.write_text(ckan)
    program.chmod(0o755)
    code = (
        f"import sys; sys.executable = {str(tmp_path / 'python')!r}\n"
        f"sys.argv = ['paster', *{line.split()!r}]\n"
        "from ckanext.archiver.legacy.paster import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )


def test_the_line_is_told_once_and_run_and_its_exit_code_is_ours(tmp_path: Path) -> None:
    ran = _run("--plugin=ckanext-archiver archiver update x -c p.ini", '#!/bin/sh\necho "$@"\nexit 3\n', tmp_path)

    assert ran.stdout == "-c p.ini archiver update x\n"
    assert ran.stderr == "paster is now: ckan -c p.ini archiver update x\n"
    assert ran.returncode == 3


def test_a_refusal_has_exit_code_2_and_runs_nothing(tmp_path: Path) -> None:
    ran = _run("--plugin=ckan user list", "#!/bin/sh\necho ran\n", tmp_path)

    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
