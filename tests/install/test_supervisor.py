"""The workers run under supervisor as the example says, but for the paths and the user of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "supervisor" / "ckanext-archiver.conf"
COMMAND = "/usr/lib/ckan/default/bin/ckan -c /etc/ckan/default/ckan.ini"


@pytest.mark.usefixtures("clean_site")
def test_supervisor_starts_and_stops_the_workers(
    make_ini: Callable[..., Path], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    supervisord = shutil.which("supervisord") or shutil.which("supervisord", path="/usr/bin")
    if not supervisord:
        pytest.skip("supervisord is not installed")
    ckan = f"{shlex.quote(str(Path(sys.executable).with_name('ckan')))} -c {shlex.quote(str(make_ini()))}"
    text = EXAMPLE.read_text()
    assert text.count(COMMAND) == text.count("user=www-data\n") == 2
    programs = tmp_path / "programs.conf"
    programs.write_text(
        text.replace(COMMAND, ckan.replace("%", "%%"))
        .replace("user=www-data\n", "")
        .replace("/var/log/ckan", str(tmp_path).replace("%", "%%"))
    )
    main = tmp_path / "supervisord.conf"
    main.write_text(
        f"[supervisord]\nlogfile={tmp_path}/main.log\npidfile={tmp_path}/pid\n[include]\nfiles={programs}\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CKAN_")}

    process = subprocess.Popen([supervisord, "-n", "-c", main], env=environment, cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        for queue in ("priority", "bulk"):
            log = tmp_path / f"archiver-{queue}.log"
            wait_until(
                lambda log=log: log.exists() and "Worker ready for" in log.read_text(), 90, f"the log of {queue}"
            )
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 0, said
    assert b"exited" not in said, "no worker ended before it was told to"


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
