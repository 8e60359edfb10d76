"""The package is found however CKAN was installed, and whatever an older release has left behind.

Python reads a folder of packages by ``site.addsitedir``. A folder that is filled as pip fills site-packages and read by
that function behaves as a virtual environment does, and takes milliseconds to make.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ["ckanext", "README.rst", "LICENSE", "MANIFEST.in", "pyproject.toml", "requirements.txt", "setup.cfg"]
SOURCES += ["setup.py"]

# What setuptools writes for a package that declares the namespace ``ckanext``: 65 and 84 differ in the spelling only.
NSPKG = (
    "import sys, types, os;p = os.path.join({folder}, *('ckanext',));importlib = __import__('importlib.util');"
    "__import__('importlib.machinery');m = sys.modules.setdefault('ckanext', importlib.util.module_from_spec("
    "importlib.machinery.PathFinder.find_spec('ckanext', [os.path.dirname(p)])));m = m or "
    "sys.modules.setdefault('ckanext', types.ModuleType('ckanext'));mp = (m or []) and "
    "m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p)\n"
)
SITE_PACKAGES = "sys._getframe(1).f_locals['sitedir']"

# The ``ckanext/__init__.py`` of CKAN and of every extension that declares the namespace.
NAMESPACE = """\
try:
    import pkg_resources
    pkg_resources.declare_namespace(__name__)
except ImportError:
    import pkgutil
    __path__ = pkgutil.extend_path(__path__, __name__)
"""


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "ckanext-archiver"
    folder.mkdir()
    for path in (*(ROOT / name for name in SOURCES), *ROOT.glob("ckanext_archiver*")):
        if path.suffix == ".egg-info":
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, folder)
    return folder


def build(what: str, source: Path, folder: Path) -> Path:
    """:param what: a hook of PEP 517 or PEP 660: ``wheel``, ``editable`` or ``sdist``"""
    code = f"from setuptools import build_meta; print(build_meta.build_{what}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def wheels(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file that pip installs, by what it is built from."""
    folder = tmp_path_factory.mktemp("dist")
    sdist = build("sdist", checkout, folder)
    shutil.unpack_archive(sdist, folder)
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    from_sdist = folder / "from-sdist"
    from_sdist.mkdir()
    return {
        "wheel": build("wheel", checkout, folder),
        "sdist": build("wheel", unpacked, from_sdist),
        "editable": build("editable", checkout, folder),
    }


class Environment:
    """A folder of packages, and a CKAN."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages = folder / "site-packages"
        self.packages.mkdir(parents=True)

    def add_ckan_from_pypi(self) -> None:
        _write(self.packages / "ckanext/activity/__init__.py")
        _write(self.packages / "ckan-2.12.0-py3.10-nspkg.pth", NSPKG.format(folder=SITE_PACKAGES))

    def add_ckan_from_source(self) -> None:
        source = self.folder / "src/ckan"
        _write(source / "ckanext/__init__.py", NAMESPACE)
        _write(source / "ckanext/activity/__init__.py")
        _write(self.packages / "ckan-2.12.0-nspkg.pth", NSPKG.format(folder=repr(str(source))))

    def add_older_release(self) -> None:
        """An editable 2.x, as pip leaves it when it replaces it by another release."""
        source = self.folder / "src/ckanext-archiver"
        _write(source / "ckanext/__init__.py", NAMESPACE)
        _write(source / "ckanext/archiver/__init__.py", "old = True\n")
        _write(self.packages / "ckanext-archiver-nspkg.pth", NSPKG.format(folder=repr(str(source))))

    def install(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as file:
            file.extractall(self.packages)

    def run(self, code: str) -> str:
        start = f"import site; site.addsitedir({str(self.packages)!r}); "
        done = subprocess.run(
            [sys.executable, "-S", "-c", start + code], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()


def _write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
@pytest.mark.parametrize("older", [False, True], ids=["fresh", "over an older release"])
@pytest.mark.parametrize("ckan", [Environment.add_ckan_from_pypi, Environment.add_ckan_from_source])
def test_the_package_is_found(
    tmp_path: Path,
    checkout: Path,
    wheels: dict[str, Path],
    ckan: Callable[[Environment], None],
    older: bool,
    kind: str,
) -> None:
    environment = Environment(tmp_path)
    ckan(environment)
    if older:
        environment.add_older_release()
    environment.install(wheels[kind])

    found = environment.run("import ckanext.archiver.clock as c, ckanext.activity; print(c.__file__)")

    home = checkout if kind == "editable" else environment.packages
    assert found == str(home / "ckanext/archiver/clock.py")


def test_the_older_release_runs_without_the_finder(tmp_path: Path, wheels: dict[str, Path]) -> None:
    """So that the test above tries what it says."""
    environment = Environment(tmp_path)
    environment.add_ckan_from_source()
    environment.add_older_release()
    environment.install(wheels["wheel"])
    (environment.packages / "ckanext_archiver.pth").unlink()

    assert environment.run("import ckanext.archiver as a; print(a.old)") == "True"


def test_the_start_of_python_imports_little(tmp_path: Path, wheels: dict[str, Path]) -> None:
    environment = Environment(tmp_path)
    environment.install(wheels["wheel"])

    loaded = environment.run("import sys; print(*sorted(name for name in sys.modules if 'archiver' in name))")

    assert loaded == "ckanext_archiver_namespace"


def _files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return {name for name in file.namelist() if ".dist-info/" not in name}


def _in_the_tree(folder: Path) -> Iterable[str]:
    files = (path for path in (folder / "ckanext").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return (str(path.relative_to(folder)) for path in files)


def test_the_wheel_has_every_file_of_the_package(checkout: Path, wheels: dict[str, Path]) -> None:
    wanted = {*_in_the_tree(checkout), "ckanext_archiver.pth", "ckanext_archiver_namespace.py"}

    assert _files(wheels["wheel"]) == wanted
    assert _files(wheels["sdist"]) == wanted
