"""Fetch the jars of a list, check them, link them into a folder: run by the stack's own Python, which has jgo.

usage: fetch_jars.py LIST FOLDER
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.maven import MavenContext


def fetch(maven: MavenContext, line: str, folder: Path) -> None:
    coordinates, checksum = line.split()
    group, artifact, version = coordinates.split(":")
    wanted = maven.project(group, artifact).at_version(version).artifact()
    for _ in range(2):
        jar = wanted.resolve()
        if hashlib.sha256(jar.read_bytes()).hexdigest() == checksum:
            break
        jar.unlink()  # an interrupted download of earlier; once more
    else:
        raise SystemExit(f"{coordinates}: not the file that was pinned")
    target = folder / f"{group}.{artifact}-{version}.jar"
    try:
        os.link(jar, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy(jar, target)


def main() -> None:
    lines = [line for line in Path(sys.argv[1]).read_text().splitlines() if line and not line.startswith("#")]
    maven = MavenContext(timeout=60)
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda line: fetch(maven, line, Path(sys.argv[2])), lines):
            pass


if __name__ == "__main__":
    main()
