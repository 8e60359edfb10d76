#!/usr/bin/env python3
# ruff: noqa: E501 - seeds are one line each
"""Coverage-guided fuzzing of what reads a server's bytes: responses, codings, Content-Disposition, URLs, cookies.

    bench/fuzz/engine.py [TARGET...] [--seconds 120]

With atheris (pip install atheris, on Python 3.11 and 3.12) libFuzzer is guided by the coverage of the engine; without
it inputs are mutations at random. What is found is written to tests/support/found_bytes.jsonl, which the unit tests
replay. Each target runs in a process of its own.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "tests" / "support" / "found_bytes.jsonl"
NAMES = ("response", "decoder", "disposition", "url", "cookie")
TOO_SLOW = 1.0
"""Seconds for one input."""

SEEDS: dict[str, list[bytes]] = {
    "response": [
        b"\xffHTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 4\r\n\r\na,b\n",
        b"\x05HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\na,b\n\r\n0\r\nA: b\r\n\r\n",
        b"\xff\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 206 x\r\nContent-Range: bytes 0-1/2\r\n\r\n<html><title>x</title>",
        b'\xffHTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<script>document.cookie="a";location.reload()</script>',
        b'\xffHTTP/1.1 200 OK\r\n\r\n{"error":{"code":429,"message":"x"}}',
        b"\xffHTTP/1.1 200 OK\r\n\r\n<?xml version='1.0'?><ServiceException code='x'>no such layer</ServiceException>",
        b"\xffHTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03K\xd4I\xe2\x02\x00\x91",
    ],
    "decoder": [b"\x01\x00\x00\x00\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03K\xd4I\xe2\x02\x00", b"\x02\x00\x01\x00x\x9cK\xd4I\xe2\x02\x00"],
    "disposition": [
        b"attachment; filename=\"a.csv\"; filename*=UTF-8''%e2%82%ac.csv",
        b'attachment; filename="=?UTF-8?B?w6QuY3N2?= =?gbk?Q?=CA?="',
        b"inline; filename*=gbk''%CA%FD; filename=shell.php.csv",
    ],
    "url": [b"http://user:pass@data.example:8080/a/../b%20c?d=e#f", b"http:\\\\0x7f.1/\xc3\xa4", b"https://[::1]:443/"],
    "cookie": [b"a=b; Path=/; Domain=a.example", b"n\xc3\xa4me=w\xc3\xb6rld; Expires=Wed, 09 Jun 2030 10:18:14 GMT\na=b; Max-Age=5"],
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=(*NAMES, []), help="default: all")
    parser.add_argument("--seconds", type=int, default=120, help="for each target (default %(default)s)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return _fuzz(options.one, options.seconds)
    found = 0
    for name in options.targets or NAMES:
        found += _run(name, options.seconds)
    print(f"{found} inputs found" + (f", see {FOUND}" if found else ""))
    return 1 if found else 0


def _run(name: str, seconds: int) -> int:
    """Fuzz one target in a process of its own; returns how many inputs broke it."""
    known = set(FOUND.read_text().splitlines()) if FOUND.exists() else set()
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, __file__, "--one", name, "--seconds", str(seconds)]
        started = time.monotonic()
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        crashes = [path.read_bytes() for path in sorted(Path(directory).iterdir()) if path.is_file()]
        if done.returncode and not crashes:
            print(done.stderr[-3_000:])
            sys.exit(f"{name} did not run")
        runs = [line for line in done.stderr.splitlines() if line.startswith(("Done ", "stat::number"))]
        print(f"{name:12} {time.monotonic() - started:5.0f} s  {' '.join(runs)}  {len(crashes)} found")
    new = {json.dumps({"target": name, "data": base64.b64encode(crash).decode()}) for crash in crashes} - known
    with FOUND.open("a") as file:
        file.writelines(line + "\n" for line in sorted(new))
    return len(new)


def _fuzz(name: str, seconds: int) -> int:
    """In a process of its own; an input that breaks is left as a file in the working directory."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "support")]
    if importlib.util.find_spec("atheris"):
        return _guided(name, seconds)
    from fuzz_targets import TARGETS  # the path is set above

    chance, count, ends = random.Random(1), 0, time.monotonic() + seconds  # noqa: S311 - the same each time
    while time.monotonic() < ends:
        data = _mutated(chance.choice(SEEDS[name]), chance)
        begun = time.monotonic()
        try:
            TARGETS[name](data)
        except Exception:  # noqa: BLE001 - that there is none is what is being tried
            Path(f"crash-{count}").write_bytes(data)
            return 1
        if time.monotonic() - begun > TOO_SLOW:
            Path(f"slow-{count}").write_bytes(data)
            return 1
        count += 1
    print(f"Done {count} runs", file=sys.stderr)
    return 0


def _guided(name: str, seconds: int) -> int:
    import atheris  # installed or not: see _fuzz

    # Only the engine itself is instrumented: what it stands on is not what is tried.
    with atheris.instrument_imports(include=["ckanext.archiver.engine"]):
        from fuzz_targets import TARGETS
    seeds = Path(tempfile.mkdtemp())
    for number, seed in enumerate(SEEDS[name]):
        (seeds / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-timeout=5", "-max_len=8192", "-rss_limit_mb=2048", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, str(seeds)], TARGETS[name])
    atheris.Fuzz()
    return 0


def _mutated(data: bytes, chance: random.Random) -> bytes:
    mutable = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        place = chance.randint(0, len(mutable))
        way = chance.randrange(4)
        if way == 0:
            mutable[place:place] = bytes([chance.randrange(256)])
        elif way == 1:
            del mutable[place : place + chance.randint(1, 6)]
        elif way == 2:
            mutable[place : place + 1] = bytes([chance.randrange(256)])
        else:
            mutable[place:place] = data[chance.randint(0, len(data)) :][: chance.randint(1, 40)]
    return bytes(mutable)


if __name__ == "__main__":
    sys.exit(main())
