"""The virtual environment: CKAN, the servers, the test tools and this extension, from pinned constraints."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from .layout import REPOSITORY, Stack, StackError, say
from .process import tail
from .progress import PipProgress

#: The environment is made anew when one of these changes.
_PACKAGES = ("requirements.txt", "dev-requirements.txt")
#: The extension's metadata (entry points) is written anew when one of these changes.
_EXTENSION = (
    *("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "requirements.txt"),
    *("ckanext_archiver.pth", "ckanext/archiver/__init__.py"),
)


def up_to_date(stack: Stack) -> bool:
    return _stamp(stack, "packages") == _packages(stack) and _stamp(stack, "extension") == _extension()


def needs_packages(stack: Stack) -> bool:
    """Whether :func:`install` will make the environment anew."""
    return _stamp(stack, "packages") != _packages(stack)


def install(stack: Stack) -> None:
    """Bring the environment to what the constraints pin; does nothing when it is there already."""
    if needs_packages(stack):
        _install_packages(stack)
        _write_stamp(stack, "packages", _packages(stack))
        _write_stamp(stack, "extension", "")
    if _stamp(stack, "extension") != _extension():
        _install_extension(stack)
        _write_stamp(stack, "extension", _extension())


def _install_packages(stack: Stack) -> None:
    say("installing CKAN %s and its servers in %s (one to three minutes)", stack.release, stack.dir)
    # A half-made or moved environment cannot be repaired in place.
    shutil.rmtree(stack.venv, ignore_errors=True)
    _run(stack, sys.executable, "-m", "venv", stack.venv)
    wheels = stack.dir / "wheels"
    wheels.mkdir(exist_ok=True)
    _write_psycopg2_wheel(wheels, _pinned(stack.constraints, "psycopg2"))
    _pip(
        stack,
        "--find-links",
        wheels,
        "--prefer-binary",
        "--constraint",
        stack.constraints,
        "--requirement",
        REPOSITORY / "requirements.txt",
        "--requirement",
        REPOSITORY / "dev-requirements.txt",
        f"ckan[requirements]=={stack.release}",
        "setuptools",
        "wheel",
        progress=PipProgress(stack.log_file("install"), stack.venv, _number_of_pins(stack.constraints)),
    )
    # CKAN loads libmagic, which a minimal system lacks.
    if subprocess.run([stack.python, "-c", "import magic"], capture_output=True, check=False).returncode:
        _add_libmagic(stack)


def _install_extension(stack: Stack) -> None:
    # Editable installs of one checkout all write the same egg-info folder: one at a time.
    with (REPOSITORY / "setup.py").open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        # "compat" puts the checkout itself on the path: CKAN's `ckanext` namespace finds packages by folders,
        # the import hooks of the other modes escape it.
        compat = ("--config-settings", "editable_mode=compat")
        _pip(stack, "--no-deps", "--no-build-isolation", *compat, "--editable", REPOSITORY)


def _write_psycopg2_wheel(folder: Path, version: str) -> None:
    """An empty `psycopg2` that depends on `psycopg2-binary`, which provides the same module.

    CKAN requires the source distribution, which needs a compiler and PostgreSQL's headers.
    """
    info = f"psycopg2-{version}.dist-info"
    files = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: psycopg2\n"
        f"Version: {version}\nRequires-Dist: psycopg2-binary=={version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: stack\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"psycopg2-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)


def _add_libmagic(stack: Stack) -> None:
    """Install `pylibmagic`, which contains the library and, once imported, lets `magic` find it."""
    _pip(stack, "--constraint", stack.constraints, "pylibmagic")
    found = subprocess.run(
        [stack.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    (Path(found.stdout.strip()) / "libmagic.pth").write_text("import pylibmagic\n")


def _pinned(constraints: Path, package: str) -> str:
    found = re.search(rf"^{package}==(\S+)$", constraints.read_text(), re.MULTILINE)
    if not found:
        raise StackError(f"{package} is not pinned in {constraints}")
    return found[1]


def _number_of_pins(constraints: Path) -> int:
    return len(re.findall(r"^[\w.-]+==", constraints.read_text(), re.MULTILINE))


def _pip(stack: Stack, *arguments: str | os.PathLike[str], progress: PipProgress | None = None) -> None:
    options = ("--progress-bar", "off", "--disable-pip-version-check", "--no-input")
    _run(stack, stack.python, "-m", "pip", "install", *options, *arguments, progress=progress)


def _run(stack: Stack, *command: str | os.PathLike[str], progress: PipProgress | None = None) -> None:
    log = stack.log_file("install")
    with (
        log.open("ab") as output,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
    ):
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                if progress is not None:
                    progress.show()
        except BaseException:
            process.kill()
            raise
    if progress is not None:
        progress.end()
    if process.returncode:
        words = " ".join(str(word) for word in command)
        raise StackError(f"failed: {words}\nthe end of {log}:\n{tail(log)}")


# -- stamps ------------------------------------------------------------------------------------------------------


def _packages(stack: Stack) -> str:
    """Changes when the environment has to be made anew: with the pins, the interpreter or the folder."""
    digest = hashlib.sha256(f"{stack.release} {sys.version_info[:2]} {stack.venv.resolve()}".encode())
    for path in (stack.constraints, *(REPOSITORY / name for name in _PACKAGES)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _extension() -> str:
    digest = hashlib.sha256(str(REPOSITORY).encode())
    for name in _EXTENSION:
        path = REPOSITORY / name
        digest.update(path.read_bytes() if path.exists() else b"-")
    return digest.hexdigest()


def _stamp(stack: Stack, name: str) -> str | None:
    path = stack.venv / f".{name}"
    return path.read_text() if path.exists() else None


def _write_stamp(stack: Stack, name: str, value: str) -> None:
    (stack.venv / f".{name}").write_text(value)
