#!/usr/bin/env python3
"""Read a million strings as links and keep those that break what must always hold.

    bench/fuzz/urls.py [--strings 1000000] [--seed 1] [--seconds 900]

The same seed gives the same strings. What breaks is made as short as it still breaks and added to
tests/unit/engine/found_urls.jsonl, where the tests read it. Exit code 1 if something was found.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from ckanext.archiver.engine import urls  # noqa: E402
from odd_urls import BAD, GOOD, JOINED, REDACTED  # noqa: E402 - the path is set above
from url_invariants import check  # noqa: E402

FOUND = ROOT / "tests" / "unit" / "engine" / "found_urls.jsonl"
TOO_SLOW = 0.25
"""Seconds for one string; a pause of the machine is ruled out by a second try."""

CORPUS = [row[0] for row in (*GOOD, *GOOD, *GOOD, *BAD, *REDACTED) if len(row[0]) < 500] + [row[1] for row in JOINED]
# A line of words each for what links are made of: grammar, hosts and ports, letters that are not what they seem.
_WORDS = """
    http https ftp file javascript : / // \\ @ ? # [ ] % %2 %2e %00 %zz .. . , data example www
    127.0.0.1 0x7f 1 ::1 fe80::1 %25 80 22 0 65536 99999 xn-- xn--n3h - _ a b A user secret
    é ß １ ９ 。 ． ℀ ☃ ٣ ① | { } < > " ' ^ ` ~ + ;
"""
PIECES = (*_WORDS.split(), *" \t\r\n\x7f\x85\u00a0\u00ad\u200b\u200d\u202e\ufeff")
EDGES = [0, 0x20, 0x7F, 0x80, 0xFF, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF, 0x10000, 0x10FFFF]


def a_string(chance: random.Random) -> str:
    """A link that was damaged, a heap of a link's parts, or anything at all."""
    way = chance.random()
    if way < 0.45:
        return damaged(chance.choice(CORPUS), chance)
    if way < 0.9:
        start = chance.choice(["", "http://", "https://", "http:\\\\", "ftp://", "http://data.example/"])
        return start + "".join(chance.choices(PIECES, k=chance.randint(0, 12)))
    return "".join(a_character(chance) for _ in range(chance.randint(0, 40)))


def damaged(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(text))
        way = chance.randrange(4)
        if way == 0:
            text = text[:place] + a_character(chance) + text[place:]
        elif way == 1:
            text = text[:place] + chance.choice(PIECES) + text[place:]
        elif way == 2:
            text = text[:place] + text[place + chance.randint(1, 5) :]
        else:
            text = text[:place] + chance.choice(CORPUS)[chance.randint(0, 10) :]
    return text[:2000]


def a_character(chance: random.Random) -> str:
    way = chance.random()
    if way < 0.5:
        return chr(chance.randrange(0x80))
    if way < 0.6:
        return chr(chance.choice(EDGES))
    return chr(chance.randrange(0x3000) if way < 0.85 else chance.randrange(0x110000))


def defect_of(text: str) -> str:
    """What is wrong with how a string is read; "" for nothing."""
    try:
        start = time.perf_counter()
        check(text)
        if time.perf_counter() - start > TOO_SLOW:
            start = time.perf_counter()
            urls.normalise(text)
            return "slow" if time.perf_counter() - start > TOO_SLOW else ""
    except Exception as error:  # noqa: BLE001 - that there is none is what is being tried
        return type(error).__name__
    return ""


def shortest(text: str, broken: Callable[[str], str]) -> str:
    """As short as it still breaks in the same way."""
    kind, size = broken(text), max(1, len(text) // 2)
    while size:
        place = 0
        while place < len(text):
            shorter = text[:place] + text[place + size :]
            if broken(shorter) == kind:
                text = shorter
            else:
                place += size
        size //= 2
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=900, help="stop after this time (default %(default)s)")
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - it is to be the same each time
    start, counts, found = time.monotonic(), Counter[str](), set[str]()
    for number in range(options.strings):
        if number % 1000 == 0 and time.monotonic() - start > options.seconds:
            break
        text = a_string(chance)
        kind = defect_of(text)
        if kind:
            found.add(json.dumps(shortest(text, defect_of)))
        result = urls.normalise(text) if not kind else None
        counts[kind or (result.detail if isinstance(result, urls.BadUrl) else "link")] += 1
    seconds = time.monotonic() - start
    known = set(FOUND.read_text().splitlines()) if FOUND.exists() else set()
    with FOUND.open("a") as file:
        file.writelines(line + "\n" for line in sorted(found - known))
    total = sum(counts.values())
    print(f"{total:,} strings in {seconds:.0f} s ({total / seconds:,.0f}/s), {len(found)} found")  # noqa: T201
    for name, count in counts.most_common():
        print(f"{count:>9,}  {name}")  # noqa: T201 - this is what the script is for
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
