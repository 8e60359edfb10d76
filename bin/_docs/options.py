"""Write the options of docs/configuration.rst from ckanext/archiver/config_declaration.yaml.

Runs as a process of the stack's environment, which can read YAML.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DECLARATION = ROOT / "ckanext" / "archiver" / "config_declaration.yaml"
PAGE = ROOT / "docs" / "configuration.rst"

BEGIN = ".. The options below are written by bin/docs --write from config_declaration.yaml.\n"
END = ".. End of the options that are written by bin/docs --write.\n"

WIDTH = 116
_KINDS = {"int": "A whole number.", "bool": "``true`` or ``false``."}


def page(old: str, declaration: str) -> str:
    """The page with the options as they are declared.

    :param old: the page, with the two comments between which the options are
    :param declaration: YAML, as CKAN reads it
    """
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    options = "\n".join(_options(yaml.safe_load(declaration)))
    return f"{before}{BEGIN}\n{options}\n{END}{after}"


def _options(declaration: Mapping[str, Any]) -> Iterator[str]:
    for group in declaration["groups"]:
        title = group["annotation"].partition(": ")[2]
        title = title[:1].upper() + title[1:]
        yield from (title, "-" * len(title), "")
        for option in group["options"]:
            yield f"``{option['key']}``"
            yield from _wrapped(_escaped(" ".join(option["description"].split())))
            yield ""
            yield from _wrapped(" ".join(_values(option)))
            yield ""


def _values(option: Mapping[str, Any]) -> Iterator[str]:
    default = option.get("default", "")
    kind = "bool" if isinstance(default, bool) else option.get("type", "")
    if kind in _KINDS:
        yield _KINDS[kind]
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    yield f"Default: ``{shown}``." if shown else "Default: not set."
    if "example" in option:
        yield f"Example: ``{option['example']}``."
    if "legacy_key" in option:
        yield f"The older name ``{option['legacy_key']}`` is read as well."


def _wrapped(text: str) -> list[str]:
    # A literal stays on one line where it can: with its blanks it is one word.
    words = re.sub(r"``[^`]+``", lambda found: found[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(words, WIDTH, break_long_words=False, break_on_hyphens=False)
    return ["    " + line.replace("\0", " ") for line in lines]


def _escaped(text: str) -> str:
    return re.sub(r"([*`|\\]|_(?!\w))", r"\\\1", text)


def main() -> None:
    old = PAGE.read_text(encoding="utf-8")
    new = page(old, DECLARATION.read_text(encoding="utf-8"))
    if new != old:
        PAGE.write_text(new, encoding="utf-8")
        sys.stderr.write(f"wrote {PAGE}\n")


if __name__ == "__main__":
    main()
