"""The commands of a portal that has the extension installed, and the plugin not in ``ckan.plugins``."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.cli.cli import ckan
from ckan.tests import factories

from ckanext.archiver.worker import run


def _run(ini: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ckan")
    return subprocess.run([program, "-c", ini, *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.usefixtures("clean_site")
def test_resources_are_archived_by_hand_without_the_plugin(make_ini: Callable[..., Path]) -> None:
    resource = factories.Resource(url="http://one.example/")
    model.Session.execute(sa.text("DELETE FROM archiver_request"))
    model.Session.commit()
    ini = make_ini({"ckan.plugins": ""})

    ran = _run(ini, "archiver", "update", resource["id"])

    assert "1 archival requested on queue priority." in ran.stdout, ran.stderr
    assert ran.returncode == 0
    refused = _run(ini, "celeryd2", "run", "slow")
    assert "Error: Invalid value" in refused.stderr
    assert refused.returncode == 2
    refused = _run(make_ini({"ckan.plugins": "", "ckanext-archiver.mode": "archve"}), "archiver", "view")
    assert "Error: ckanext-archiver.mode must be one of archive, check, not 'archve'." in refused.stderr
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)


def test_the_help_cuts_no_summary(cli: Any) -> None:
    result = cli.invoke(ckan, ["archiver", "--help"])
    lines = result.output.partition("Commands:")[2]
    assert "delete-files-larger-than-max-content-length" in lines
    assert "Delete the cached copies that are larger than ckanext-archiver.max_content_length." in re.sub(
        r"\s+", " ", lines
    )
    assert "..." not in lines


def test_other_commands_of_ckan_do_not_load_the_extension() -> None:
    code = "import sys, ckanext.archiver.cli.entry; sys.exit('ckanext.archiver.model' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bulk", "--loglevel=INFO"], ""),
        (["priority", "-l", "info"], ""),
        (["bulk", "-n", "bulk@%h"], "--hostname has no effect"),
        (["all", "--hostname=x", "-E", "--concurrency=2"], "has no effect"),
        (["--queues", "bulk", "bulk", "-O", "fair"], "has no effect"),
    ],
)
def test_the_options_of_celerys_worker_are_accepted(cli: Any, monkeypatch: Any, words: list[str], said: str) -> None:
    started = []
    monkeypatch.setattr(run, "run", lambda *args: started.append(args) or 0)
    result = cli.invoke(ckan, ["celeryd2", "run", *words])
    assert result.exit_code == 0, result.output
    assert len(started) == 1
    assert said in result.output
    assert ("has no effect" in result.output) is bool(said)


def test_a_bad_log_level_and_update_test_are_one_sentence(cli: Any) -> None:
    result = cli.invoke(ckan, ["celeryd2", "run", "bulk", "--loglevel=LOUD"])
    assert (result.exit_code, "'LOUD' is not a level" in result.output) == (2, True)
    result = cli.invoke(ckan, ["archiver", "update-test", "rainfall", "--queue", "bulk"])
    assert (result.exit_code, "ckan archiver check URL" in result.output) == (2, True)
