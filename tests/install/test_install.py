"""What operators install, on a throw-away copy of this system: the Debian package, and the README's own lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ckan
import pytest
from ckan import model
from ckan.tests import factories

from _stack import install
from _stack.layout import CKAN_RELEASES, Stack
from origin_server import Origin

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LEFT_OUT = shutil.ignore_patterns(".stack", ".git", "__pycache__", "*.egg-info", ".*_cache", "build", "dist", "wheels")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def unshared() -> list[str]:
    """The command that gives a program mounts and processes of its own; skips where this user may not do so."""
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    mounts = (
        'd=$(mktemp -d) && mount -t tmpfs t "$d" && mkdir "$d/u" "$d/w" "$d/r" && '
        'mount -t overlay o -o "lowerdir=/,upperdir=$d/u,workdir=$d/w" "$d/r"'
    )
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    if subprocess.run([*command, "sh", "-c", mounts], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount an overlay here")
    return command


@pytest.fixture
def portal(clean_site: None, origin: Origin, make_ini: Callable[..., Path], tmp_path: Path) -> list[str | Path]:
    """What the scripts need to make a CKAN like the stack's, and a dataset whose link waits to be archived."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" not in run("/usr/bin/python3", "--version"):
        pytest.skip("the system has another Python than the stack, whose pins may differ")
    version = next(short for short, release in CKAN_RELEASES.items() if release == ckan.__version__)
    stack = Stack.at(version, None)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    install._write_psycopg2_wheel(wheels, install._pinned(stack.constraints, "psycopg2"))
    dataset = factories.Dataset(resources=[{"url": origin.serve("/stops.csv", b"id,name\n1,Kirkgate\n")}])
    model.Session.remove()
    return [stack.release, stack.constraints, wheels, make_ini(), dataset["name"]]


# -- the Debian package ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for program in ("dpkg-buildpackage", "dh"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("debian")
    source = folder / "ckanext-archiver"
    shutil.copytree(ROOT, source, ignore=LEFT_OUT)
    run("dpkg-buildpackage", "-us", "-uc", "-b", cwd=source)
    (deb,) = folder.glob("*.deb")
    return deb


def test_lintian_has_nothing_to_say(package: Path) -> None:
    lintian = shutil.which("lintian")
    if not lintian:
        pytest.skip("lintian is not installed")
    (changes,) = package.parent.glob("*.changes")

    said = run(lintian, "--fail-on", "error,warning", changes)

    assert [line for line in said.splitlines() if line[:2] in ("E:", "W:")] == []


def test_the_package_is_installed_used_upgraded_and_purged(
    package: Path, unshared: list[str], portal: list[str | Path]
) -> None:
    assert run(*unshared, HERE / "debian.sh", *portal, package).endswith("== passed\n")


# -- the README's lines ------------------------------------------------------------------------------------------------


def blocks_of_the_readme() -> list[str]:
    """The literal blocks of the section "Install"."""
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    section = re.search(r"^Install\n=+\n(.*?)^\S[^\n]*\n=+\n", text, re.MULTILINE | re.DOTALL)
    assert section
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", section[1])
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip() + "\n" for block in blocks]


def test_the_readme_leads_to_the_first_archival(unshared: list[str], portal: list[str | Path], tmp_path: Path) -> None:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    commands, settings, tables = blocks_of_the_readme()
    extra = "ckan-" + ".".join(ckan.__version__.split(".")[:2]).replace(".", "-")
    lines = tmp_path / "lines"
    lines.mkdir()
    (lines / "install.sh").write_text(commands.replace("ckan-2-12", extra))
    (lines / "settings.ini").write_text(settings)
    (lines / "tables.sh").write_text(tables)
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=LEFT_OUT)
    for words in ("init -q", "add -A", "-c user.name=x -c user.email=x@example.org commit -qm x"):
        run("git", *words.split(), cwd=source)

    assert run(*unshared, HERE / "readme.sh", *portal, source, lines).endswith("== passed\n")
