"""The Debian package is built, accepted by lintian, and installed, used, upgraded and purged beside a CKAN."""

from __future__ import annotations

import os
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

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".stack", ".git", "__pycache__", "*.egg-info", ".*_cache", "build", "dist", "wheels")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def can_overlay() -> bool:
    """Whether this user may mount an overlay in a namespace of its own."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    mounts = (
        'd=$(mktemp -d) && mount -t tmpfs t "$d" && mkdir "$d/u" "$d/w" "$d/r" && '
        'mount -t overlay o -o "lowerdir=/,upperdir=$d/u,workdir=$d/w" "$d/r"'
    )
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounts]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


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


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_lintian_has_nothing_to_say(package: Path) -> None:
    lintian = shutil.which("lintian")
    if not lintian:
        pytest.skip("lintian is not installed")
    (changes,) = package.parent.glob("*.changes")

    said = run(lintian, "--fail-on", "error,warning", changes)

    assert [line for line in said.splitlines() if line[:2] in ("E:", "W:")] == []


@pytest.mark.usefixtures("clean_site")
def test_it_is_installed_used_upgraded_and_purged(
    package: Path, origin: Origin, make_ini: Callable[..., Path], tmp_path: Path
) -> None:
    if not can_overlay():
        pytest.skip("needs root, and the right to mount an overlay")
    version = next(short for short, release in CKAN_RELEASES.items() if release == ckan.__version__)
    if sys.version_info[:2] != _python_of_the_system():
        pytest.skip("the stack runs on another Python than the system's, whose pins may differ")
    stack = Stack.at(version, None)
    install._write_psycopg2_wheel(tmp_path, install._pinned(stack.constraints, "psycopg2"))
    dataset = factories.Dataset(resources=[{"url": origin.serve("/stops.csv", b"id,name\n1,Kirkgate\n")}])
    model.Session.remove()

    said = run(
        *("unshare", "--mount", "--propagation", "private", Path(__file__).with_name("debian.sh")),
        *(package, stack.release, stack.constraints, tmp_path, make_ini(), dataset["name"]),
    )

    assert said.endswith("== passed\n"), said


def _python_of_the_system() -> tuple[int, int]:
    said = run("/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:2])")
    major, minor = said.split()
    return int(major), int(minor)
