"""Known vulnerabilities of the pinned releases of what this extension depends on: pip-audit, by PyPI's advisories."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .layout import REPOSITORY, Stack, say

#: What Celery and cryptography bring, beside the lines of requirements.txt. CKAN's own packages are for CKAN to pin.
_BROUGHT = ("amqp", "billiard", "cffi", "vine")
_SECONDS = 60


def told(stack: Stack) -> bool:
    """Say what is known.

    :returns: whether there is a vulnerability; False also where the advisories cannot be reached
    """
    say("check: pip-audit")
    try:
        vulnerable = _vulnerable(_report(stack))
    except OSError as error:
        say("audit: the advisories cannot be reached, so nothing is known: %s", error)
        return False
    for line in vulnerable or ["no advisory is about the pinned releases"]:
        say("audit: %s", line)
    return bool(vulnerable)


def _pins(stack: Stack) -> list[str]:
    """``name==release`` of each dependency, as the constraints have it."""
    names = re.findall(r"^[A-Za-z][\w.-]*", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    wanted = {name.lower() for name in (*names, *_BROUGHT)}
    lines = stack.constraints.read_text().splitlines()
    return [line for line in lines if line.partition("==")[0].lower() in wanted]


def _report(stack: Stack) -> list[dict[str, Any]]:
    """pip-audit's findings: a dict for each package.

    :raises OSError: the advisories cannot be reached
    """
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text("\n".join(_pins(stack)) + "\n")
        options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "5"]
        command = [str(stack.bin / "pip-audit"), "--requirement", str(pins), "--cache-dir", folder, *options]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise OSError(f"no answer within {_SECONDS} seconds") from error
    return packages(run.stdout, run.stderr)


def packages(output: str, errors: str) -> list[dict[str, Any]]:
    """The packages in pip-audit's JSON.

    :raises OSError: it found no advisories of any package
    """
    try:
        found: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except ValueError:
        raise OSError((errors.strip().splitlines() or ["pip-audit says nothing"])[-1][:200]) from None
    audited = [package for package in found if "skip_reason" not in package]
    if not audited:
        raise OSError("the registry in use has none")
    return audited


def _vulnerable(audited: list[dict[str, Any]]) -> list[str]:
    return [
        f"{package['name']} {package['version']} has {one['id']}, mended in {', '.join(one['fix_versions']) or 'none'}"
        for package in audited
        for one in package["vulns"]
    ]
