"""``bin/demo --pictures DIR``: take the documentation's pictures of the demo's pages, in headless Chromium.

The demo itself runs on any Python; this module needs playwright, so it runs as a process of the stack's environment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from _stack.layout import Stack, StackError

WIDTH, HEIGHT = 1100, 900
"""Of the window, in CSS pixels."""

#: Picture → the page it shows and the part of the page (a CSS selector).
PICTURES = {
    "resource": ("resource", ".module-resource"),
    "report": ("report", "#content"),
}

_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing but the demo's own server is reachable.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


def chromium() -> str:
    """The path of a Chromium or Chrome; ``ARCHIVER_CHROMIUM`` may name one.

    :raises StackError: there is none
    """
    known = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("ARCHIVER_CHROMIUM") or next(filter(None, map(shutil.which, known)), None)
    if not found:
        raise StackError("--pictures needs Chromium; ARCHIVER_CHROMIUM may name one")
    return found


def take(stack: Stack, pages: Mapping[str, str], folder: Path) -> list[Path]:
    """Take all pictures.

    :param pages: URLs by name, as the demo prints them
    :param folder: where the PNG files go
    :returns: the files
    :raises StackError: there is no Chromium, or a page does not look as expected
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name: (pages[page], part) for name, (page, part) in PICTURES.items()}
    done = subprocess.run(
        [stack.python, "-m", "_demo.pictures", chromium(), folder.absolute()],
        input=json.dumps(wanted),
        cwd=Path(__file__).resolve().parents[1],
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise StackError(f"the pictures could not be taken:\n{done.stderr[-2000:]}")
    return [folder / f"{name}.png" for name in wanted]


def _take(executable: str, folder: Path, wanted: Mapping[str, tuple[str, str]]) -> None:
    # Only the stack's environment has it.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_OPTIONS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB", timezone_id="UTC")
        for name, (url, part) in wanted.items():
            page.goto(url, wait_until="networkidle")
            page.locator(part).first.screenshot(path=folder / f"{name}.png", animations="disabled")
        browser.close()


if __name__ == "__main__":
    _take(sys.argv[1], Path(sys.argv[2]), json.load(sys.stdin))
