"""An older release that is left beside this one is reported in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ckanext.archiver import __version__, installation
from ckanext.archiver.cli.errors import Group
from ckanext.archiver.errors import InstallationError


@pytest.fixture
def older_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The metadata of an editable 2.1, on the path."""
    record = tmp_path / "ckanext_archiver.egg-info"
    record.mkdir()
    (record / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: ckanext-archiver\nVersion: 2.1.1\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return record


def test_this_installation_is_sound() -> None:
    installation.check()


def test_the_folder_is_named() -> None:
    folder = Path(installation.__file__).parent

    assert installation.description() == f"ckanext-archiver {__version__} from {folder}"


def test_an_older_release_is_named_with_its_place(older_record: Path) -> None:
    with pytest.raises(InstallationError) as raised:
        installation.check()

    assert f"but release 2.1.1 is recorded in {older_record}. Run " in str(raised.value)


def test_a_command_stops_with_the_sentence(older_record: Path) -> None:
    ran = []
    group = Group("archiver", commands={"worker": click.Command("worker", callback=lambda: ran.append(1))})

    result = CliRunner().invoke(group, ["worker"])

    assert (result.exit_code, ran) == (1, [])
    assert "release 2.1.1" in result.output
    assert "Traceback" not in result.output
