"""The pages in a real browser, at the width of a desk and of a hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories
from playwright.sync_api import sync_playwright

import example_portal
from chromium import CHROMIUM, MARKS, OPTIONS, PASSWORD, WIDTHS, Window
from ckanext.archiver import clock
from ckanext.archiver.model import Archival, ArchiverRequest

pytestmark = MARKS

# What of ours reaches beyond the window. CKAN's own page is six pixels wider than 390, so the page is no measure.
BEYOND = """() => [...document.querySelectorAll('[class*="archiver-"], [class*="archiver-"] *')]
    .filter(e => e.getClientRects().length && !e.closest('thead, .visually-hidden'))
    .filter(e => e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0)
    .map(e => `${e.tagName}.${e.className} at ${e.getBoundingClientRect().right}`)"""

# Text of ours whose contrast with what is behind it is below 4.5 (WCAG 2.2, 1.4.3).
FAINT = """() => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = e => {
        for (; e; e = e.parentElement) {
            const colour = channels(getComputedStyle(e).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return [...document.querySelectorAll('[class*="archiver-"], [class*="archiver-"] *')]
        .filter(e => e.getClientRects().length && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
        .map(e => [e, contrast(light(channels(getComputedStyle(e).color)), light(behind(e)))])
        .filter(([e, value]) => value < 4.5)
        .map(([e, value]) => `${e.className || e.tagName}: ${value.toFixed(2)} "${e.textContent.trim()}"`);
}"""


@pytest.fixture
def pages() -> dict[str, str]:
    return example_portal.make()


@pytest.fixture
def visit(pages: dict[str, str], web: Callable[..., str]) -> Iterator[Callable[[int], Window]]:
    """``visit(width)``: a browser window of that width at a portal with a link in every state."""
    site = web()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)

        def open_window(width: int) -> Window:
            return Window(browser.new_page(viewport={"width": width, "height": 900}), site)

        yield open_window
        browser.close()


@pytest.mark.timeout(400)
def test_every_page_is_sound(visit: Callable[[int], Window], pages: dict[str, str]) -> None:
    faults: dict[str, Any] = {}
    for width in WIDTHS:
        window = visit(width)
        for name, path in pages.items():
            window.go(path)
            found = {
                "complaints": window.complaints[:],
                "beyond": window.page.evaluate(BEYOND),
                "faint": window.page.evaluate(FAINT),
                "hacked": window.page.evaluate("window.archiverHacked || 0"),
            }
            window.complaints.clear()
            if any(found.values()):
                faults[f"{name} at {width}"] = {key: value for key, value in found.items() if value}
    assert not faults


def test_the_panel_says_the_state_at_both_widths(visit: Callable[[int], Window], pages: dict[str, str]) -> None:
    for width in WIDTHS:
        window = visit(width)
        for state, heading in (
            ("ok", "This link works"),
            ("failing", "This link has been failing since"),
            ("broken", "This link has been broken since"),
            ("not-sure", "It is not certain whether this link works"),
            ("never", "This link has not been checked yet"),
            ("waiting", "This link is waiting to be checked"),
        ):
            window.go(pages[state])
            panel = window.page.locator(".archiver-panel")
            assert panel.get_attribute("data-archiver-verdict") == state
            assert panel.get_by_role("heading").inner_text().strip().startswith(heading)
            assert panel.is_visible()


def test_the_keyboard_reaches_the_cached_copy(
    visit: Callable[[int], Window], pages: dict[str, str], tmp_path: Path
) -> None:
    window = visit(1280)
    window.go(pages["broken"])
    focused = "document.activeElement.className"
    for _ in range(40):
        window.page.keyboard.press("Tab")
        if "archiver-download" in window.page.evaluate(focused):
            break
    assert "archiver-download" in window.page.evaluate(focused)
    assert window.page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle !== 'none' || "
        "getComputedStyle(document.activeElement).boxShadow !== 'none'"
    )

    with window.page.expect_download() as download:
        window.page.keyboard.press("Enter")

    assert download.value.suggested_filename == "stops.csv"
    download.value.save_as(tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_text() == "stop,name\n1,Station\n"


def test_the_pages_turn_round_where_people_read_from_right_to_left(
    visit: Callable[[int], Window], pages: dict[str, str]
) -> None:
    window = visit(1280)
    window.go("/ar" + pages["broken"])
    style = "getComputedStyle(document.querySelector('.archiver-panel'))"
    assert window.page.evaluate(f"[{style}.borderRightWidth, {style}.borderLeftWidth]") == ["6px", "1px"]
    reason = window.page.locator(".archiver-reason")
    assert (reason.get_attribute("lang"), reason.get_attribute("dir")) == ("en", "auto"), "there is no Arabic catalogue"

    window.go("/ar" + pages["report-organization"])
    assert window.page.evaluate(BEYOND) == []
    url = "getComputedStyle(document.querySelector('.archiver-url bdi')).direction"
    assert window.page.evaluate(url) == "ltr"


def test_buttons_look_like_buttons(visit: Callable[[int], Window], pages: dict[str, str]) -> None:
    window = visit(1280)
    for name, button in (("ok", ".archiver-download"), ("report", ".archiver-downloads .btn")):
        window.go(pages[name])
        underline = window.page.locator(button).first.evaluate("e => getComputedStyle(e).textDecorationLine")
        assert underline == "none"


def log_in(window: Window, organization: str) -> None:
    """Log in, by the form, as a new editor of an organization."""
    user = factories.User(password=PASSWORD)
    tk.get_action("organization_member_create")(
        {"ignore_auth": True}, {"id": organization, "username": user["name"], "role": "editor"}
    )
    window.log_in(user["name"])


def finish(resource_id: str) -> None:
    """What a worker does when the link works again."""
    now = clock.naive_utc()
    model.Session.query(Archival).filter_by(resource_id=resource_id).update(
        {"verdict": "ok", "is_broken": False, "detail": "ok-checked", "checked_at": now, "last_success": now}
    )
    model.Session.query(ArchiverRequest).filter_by(resource_id=resource_id).delete()
    model.Session.commit()


def test_check_now_shows_the_result_without_a_reload(visit: Callable[[int], Window], pages: dict[str, str]) -> None:
    window = visit(1280)
    log_in(window, "transport")
    window.go(pages["broken"])
    assert "What to do:" in window.page.locator(".archiver-panel").inner_text()
    window.page.get_by_role("button", name="Check now").click()
    window.page.wait_for_load_state()
    panel = window.page.locator(".archiver-panel")
    assert "waiting in the queue" in panel.inner_text()
    window.page.evaluate("window.notReloaded = true")

    finish(pages["broken"].rpartition("/")[2])

    window.page.wait_for_selector('.archiver-panel[data-archiver-verdict="ok"]', timeout=10_000)
    assert window.page.evaluate("window.notReloaded"), "the panel alone was replaced"
    if window.page.evaluate("Boolean(window.ckan.toast)"):  # CKAN 2.12
        heading = window.page.locator(".archiver-heading").inner_text().strip()
        assert window.page.locator(".toast-body").inner_text().strip() == heading
    assert window.complaints == []


def test_the_main_button_follows_the_result(visit: Callable[[int], Window], pages: dict[str, str]) -> None:
    window = visit(1280)
    log_in(window, "transport")
    window.go(pages["broken"])
    button = window.page.locator(".module-resource .actions .btn-primary")
    assert "copy" in button.inner_text()
    window.page.get_by_role("button", name="Check now").click()
    window.page.wait_for_load_state()
    finish(pages["broken"].rpartition("/")[2])
    window.page.wait_for_selector(".module-resource .actions .resource-url-analytics", timeout=10_000)
    assert "copy" not in button.inner_text()


def test_a_dead_link_offers_the_copy(visit: Callable[[int], Window], pages: dict[str, str]) -> None:
    window = visit(1280)
    window.go(pages["broken"])
    button = window.page.locator(".module-resource .actions .btn-primary")
    assert button.inner_text().strip().startswith("Download the copy of")
    assert button.get_attribute("href").endswith("/cached")
    window.go(pages["ok"])
    assert "copy" not in window.page.locator(".module-resource .actions .btn-primary").inner_text()
