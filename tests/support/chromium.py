"""A real browser for the tests of pages: Chromium by Playwright, which reaches nothing but this machine."""

from __future__ import annotations

import os
import shutil

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (dev-requirements.txt)")

from playwright.sync_api import Page, Route

WIDTHS = (1280, 390)
"""CSS pixels of a desk's and of a hand's screen."""

CHROMIUM = os.environ.get("ARCHIVER_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

MARKS = [
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium; ARCHIVER_CHROMIUM may name one"),
    pytest.mark.usefixtures("clean_site"),
    pytest.mark.slow,
]
"""Of every module that uses the browser."""

PASSWORD = "Passw0rd-of-the-test"


class Window:
    """A browser at a site, that notes every complaint."""

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.site = site
        self.complaints: list[str] = []
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.route(lambda url: not url.startswith(site), self._keep_in)

    def _keep_in(self, route: Route) -> None:
        # Pictures that CKAN's own pages have from elsewhere.
        route.fulfill(status=204)

    def go(self, path: str, status: int = 200) -> None:
        answer = self.page.goto(self.site + path)
        assert answer is not None
        assert answer.status == status, path

    def log_in(self, name: str) -> None:
        """Log in by the form, with the password of the tests."""
        self.go("/user/login")
        form = self.page.locator("form").filter(has=self.page.locator("#field-password"))
        form.locator("#field-login").fill(name)
        form.locator("#field-password").fill(PASSWORD)
        form.locator("button[type=submit]").click()
        self.page.wait_for_url("**/dashboard/**")
