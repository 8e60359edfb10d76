"""What a person sees while packages are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from _stack.progress import PipProgress


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    return packages


def progress(venv: Path, log: str, *, before: str = "") -> PipProgress:
    path = venv.parents[3] / "install.log"
    path.write_text(before)
    found = PipProgress(path, venv.parents[2], 100)
    path.write_text(before + log)
    return found


def test_it_counts_what_pip_collects_and_how_long_the_rest_takes(venv: Path) -> None:
    log = "".join(f"Collecting package-{n}>=1 (from ckan)\n  Downloading package-{n}.whl\n" for n in range(50))
    found = progress(venv, log, before="Collecting of-an-earlier-run\n")
    assert found.text(20) == "collected 50 of 100 packages, about 60 s left"
    assert found.text(60) == "collected 50 of 100 packages, about 3 min left"


def test_it_says_nothing_of_the_rest_when_it_cannot_know(venv: Path) -> None:
    assert progress(venv, "Collecting celery\nCollecting celery\n").text(3) == "collected 1 of 100 packages"


def test_it_counts_what_is_installed_once_pip_installs(venv: Path) -> None:
    for n in range(75):
        (venv / f"package_{n}-1.0.dist-info").mkdir()
    log = "".join(f"Collecting package-{n}\n" for n in range(120))
    assert progress(venv, log).text(70) == "installed 75 of 100 packages, about 10 s left"
