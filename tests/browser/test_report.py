"""The pages of the Broken Links report in a real browser: filters, orders, actions; by keyboard, on a narrow screen, in
both themes, and without JavaScript."""

from __future__ import annotations

import contextlib
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ckan
import pytest
from ckan import model
from ckan.tests import factories, helpers
from playwright.sync_api import Browser, Page, sync_playwright

import example_portal
from chromium import CHROMIUM, MARKS, OPTIONS, PASSWORD, WIDTHS, Window
from rows import run

pytestmark = MARKS

MIDNIGHT_BLUE = {
    "ckan.base_public_folder": "public-midnight-blue",
    "ckan.base_templates_folder": "templates-midnight-blue",
}
# The packages of CKAN 2.12.0 name the theme and lack its files; its source has them.
HAS_MIDNIGHT_BLUE = (Path(ckan.__file__).parent / "templates-midnight-blue" / "base.html").exists()

THEMES = [
    pytest.param({}, id="default"),
    pytest.param(
        MIDNIGHT_BLUE,
        id="midnight-blue",
        marks=pytest.mark.skipif(not HAS_MIDNIGHT_BLUE, reason="this CKAN has no theme midnight-blue"),
    ),
]

# What of ours reaches beyond the window.
BEYOND = """() => [...document.querySelectorAll('[class*="archiver-"], [class*="archiver-"] *')]
    .filter(e => e.getClientRects().length && !e.closest('thead, .visually-hidden, svg'))
    .filter(e => e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0)
    .map(e => `${e.tagName}.${e.className} at ${e.getBoundingClientRect().right}`)"""


@pytest.fixture
def portal() -> dict[str, str]:
    """A link in every state, an editor of the organization transport, and one link that has moved for good."""
    pages = example_portal.make()
    editor = factories.User(name="editor", password=PASSWORD)
    helpers.call_action("member_create", id="transport", object=editor["name"], object_type="user", capacity="editor")
    run("UPDATE archival SET permanent_seen = 3 WHERE permanent_url = 'https://data.example.org/v2/routes.csv'")
    run(
        "INSERT INTO archiver_link_count SELECT '*', timezone('utc', now())::date - n, v, 'gone', 10 + n * w, 1 "
        "FROM generate_series(1, 40) n, (VALUES ('ok', 1), ('broken', 2)) s (v, w)"
    )
    return pages


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture
def window(browser: Browser, web: Callable[..., str], portal: dict[str, str]) -> Callable[..., Window]:
    """``window(width=…, theme={…}, javascript=…)``."""
    sites: dict[str, str] = {}

    def open_window(width: int = 1280, theme: dict[str, str] | None = None, *, javascript: bool = True) -> Window:
        key = str(theme)
        if key not in sites:
            sites[key] = web(theme or {})
        context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=javascript)
        return Window(context.new_page(), sites[key])

    return open_window


PAGES = (
    "/report/broken-links",
    "/archiver/links",
    "/archiver/links?verdict=any",
    "/archiver/links?verdict=any&moved=1&q=o&host=transport.example.org&has_copy=1",
    "/report/broken-links/transport?include_sub_organizations=1",
    "/report/broken-links/empty",
    "/archiver/links/history",
)


def urls(page: Page) -> list[str]:
    page.wait_for_load_state()
    return page.locator(".archiver-rows .archiver-url bdi").all_inner_texts()


@pytest.mark.parametrize("theme", THEMES)
def test_every_page_is_sound_for_everybody(window: Callable[..., Window], theme: dict[str, str]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    faults: dict[str, Any] = {}
    for width in WIDTHS:
        tab = window(width, theme)
        tab.log_in("editor")
        for path in PAGES:
            tab.complaints.clear()
            tab.go(path)
            found = {
                "complaints": tab.complaints[:],
                "beyond": tab.page.evaluate(BEYOND),
                "hacked": tab.page.evaluate("window.archiverHacked || 0"),
                "axe": ours(tab.page, axe.run(tab.page).response["violations"]),
            }
            if any(found.values()):
                faults[f"{path} at {width}"] = {key: value for key, value in found.items() if value}
    assert not faults


IS_OURS = "selector => Boolean(document.querySelector(selector)?.closest('[class*=\"archiver-\"]'))"


def ours(page: Page, violations: list[dict[str, Any]]) -> list[str]:
    """The findings inside of what this extension adds to a page, and those about the page's parts."""
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in violations
        for node in violation["nodes"]
        if violation["id"].startswith("landmark-") or page.evaluate(IS_OURS, node["target"][0])
    ]


def test_the_findings_of_axe_are_told_apart(browser: Browser) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = browser.new_page()
    page.set_content(
        "<html lang=en><title>x</title><main><h1>x</h1><input type=text>"
        "<div class='archiver-report'><input type=text id=mine><p style='color:#ccc'>faint</p></div></main>"
    )
    found = ours(page, axe.run(page).response["violations"])
    assert sorted(finding.partition(":")[0] for finding in found) == ["color-contrast", "label"]


def test_filters_and_orders_lead_to_each_other(window: Callable[..., Window]) -> None:
    tab = window()
    tab.go("/report/broken-links")
    tab.page.locator(".archiver-tile-broken a").click()
    assert tab.page.locator("h1").inner_text() == "Links"
    everything = urls(tab.page)
    assert len(everything) >= 4

    tab.page.get_by_text("Filter and sort").click()
    tab.page.get_by_label("Dataset, resource or URL").fill("potholes")
    tab.page.get_by_role("button", name="Apply").click()
    assert len(urls(tab.page)) == 2
    assert all("potholes" in url for url in urls(tab.page))

    tab.page.get_by_text("Filter and sort").click()
    tab.page.get_by_label("Order").select_option("newest")
    tab.page.get_by_role("button", name="Apply").click()
    assert "sort=newest" in tab.page.url
    tab.page.locator(".archiver-chip-set").filter(has_text="potholes").click()
    assert sorted(urls(tab.page)) == sorted(everything)

    tab.page.locator(".archiver-chip").filter(has_text="Failing").click()
    assert tab.page.locator("[aria-current=page]").inner_text() == "Failing"
    assert len(urls(tab.page)) == 1


@pytest.mark.parametrize("javascript", [True, False])
def test_an_editor_checks_a_link_again(window: Callable[..., Window], javascript: bool) -> None:
    tab = window(javascript=javascript)
    tab.log_in("editor")
    tab.go("/report/broken-links/transport")
    box = tab.page.locator(".archiver-tick input").first
    resource_id = box.get_attribute("value")
    box.check()
    tab.page.get_by_role("button", name="Check again").click()
    assert tab.page.locator("h1").inner_text() == "Check 1 link again?"
    tab.page.get_by_role("button", name="Check again").click()
    tab.page.get_by_text("1 link will be checked again.").wait_for()
    assert [row.queue for row in run("SELECT queue FROM archiver_request WHERE resource_id = :id", id=resource_id)] == [
        "priority"
    ]
    tab.go("/archiver/links/history")
    assert "Checked again" in tab.page.locator(".archiver-table").inner_text()


def test_an_editor_takes_over_a_new_address_and_back(window: Callable[..., Window]) -> None:
    tab = window()
    tab.log_in("editor")
    tab.go("/archiver/links?moved=1&q=Routes")
    tab.page.locator(".archiver-tick input").first.check()
    tab.page.get_by_role("button", name="Use the new address").click()
    assert "https://data.example.org/v2/routes.csv" in tab.page.locator(".archiver-table").inner_text()
    tab.page.get_by_role("button", name="Use the new address").click()
    tab.page.get_by_text("1 link changed.").wait_for()
    routes = "SELECT url FROM resource WHERE name = 'Routes'"
    assert run(routes)[0].url == "https://data.example.org/v2/routes.csv"

    tab.go("/archiver/links/history")
    tab.page.get_by_role("button", name="Undo").first.click()
    tab.page.get_by_role("button", name="Undo").click()
    tab.page.get_by_text("1 link has its previous address again.").wait_for()
    model.Session.rollback()
    assert run(routes)[0].url.endswith("/moved.csv")


def test_an_editor_leaves_a_link_alone(window: Callable[..., Window]) -> None:
    tab = window()
    tab.log_in("editor")
    tab.go("/archiver/links?q=potholes")
    tab.page.locator(".archiver-tick input").first.check()
    tab.page.get_by_role("button", name="Leave alone until a date").click()
    tab.page.get_by_label("Why").fill("The server is being moved")
    tab.page.get_by_role("button", name="Leave alone").click()
    tab.page.get_by_text("1 link will be left alone until").wait_for()
    assert len(urls(tab.page)) == 1
    tab.page.locator(".archiver-chip").filter(has_text="Left alone").click()
    assert "The server is being moved" in tab.page.locator(".archiver-rows").inner_text()


def test_the_keyboard_is_enough(window: Callable[..., Window]) -> None:
    tab = window()
    tab.log_in("editor")
    tab.go("/archiver/links?q=potholes")

    def tab_to(what: str) -> None:
        for _ in range(120):
            tab.page.keyboard.press("Tab")
            if tab.page.evaluate(f"document.activeElement.matches({what!r})"):
                style = "getComputedStyle(document.activeElement)"
                assert tab.page.evaluate(f"{style}.outlineStyle !== 'none' || {style}.boxShadow !== 'none'"), what
                return
        pytest.fail(f"the keyboard does not reach {what}")

    tab_to(".archiver-tick input")
    tab.page.keyboard.press("Space")
    tab_to("button[value=check]")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector(".archiver-confirm")
    tab_to(".archiver-confirm button[name=confirmed]")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_text("1 link will be checked again.").wait_for()


def test_remote_text_is_no_markup(window: Callable[..., Window]) -> None:
    evil = "<img src=x onerror='window.archiverHacked = 1'>"
    run("UPDATE package SET title = title || :evil", evil=evil)
    run("UPDATE resource SET name = name || :evil, url = 'javascript:window.archiverHacked=1//' || url", evil=evil)
    run('UPDATE "group" SET title = title || :evil', evil=evil)
    tab = window()
    tab.log_in("editor")
    for path in PAGES:
        tab.go(path)
        with contextlib.suppress(Exception):
            tab.page.wait_for_load_state("networkidle", timeout=1000)
        assert not tab.page.evaluate("window.archiverHacked || 0"), path
        assert tab.page.locator("a[href^='javascript:']").filter(has_text="archiver").count() == 0
    tab.go("/archiver/links")
    tab.page.locator(".archiver-tick input").first.check()
    tab.page.get_by_role("button", name="Check again").click()
    assert not tab.page.evaluate("window.archiverHacked || 0")


@pytest.mark.parametrize("javascript", [True, False])
def test_a_server_that_has_moved_is_replaced(
    browser: Browser, web: Callable[..., str], portal: dict[str, str], origin: Any, *, javascript: bool
) -> None:
    new = origin.serve("/files/potholes/1.json", b"[]", content_type="application/json").removesuffix("potholes/1.json")
    context = browser.new_context(java_script_enabled=javascript)
    tab = Window(context.new_page(), web({"ckanext-archiver.allowed_addresses": "127.0.0.0/8"}))
    tab.log_in("editor")
    tab.go("/archiver/links?q=potholes")
    for box in tab.page.locator(".archiver-tick input").all():
        box.check()
    tab.page.get_by_role("button", name="The server has moved").click()
    tab.page.get_by_label("URLs begin with").fill("https://files.example.org/")
    tab.page.get_by_label("Replace that by").fill(new)
    tab.page.get_by_role("button", name="Check the new addresses").click()
    table = tab.page.locator(".archiver-table").inner_text()
    assert f"{new}potholes/1.json" in table
    assert "The new address does not work" in table, "the second file is not there"
    assert tab.page.locator(".archiver-tick input").count() == 1
    tab.page.get_by_role("button", name="Replace").click()
    tab.page.get_by_text("1 link changed.").wait_for()
    model.Session.rollback()
    assert [row.url for row in run("SELECT url FROM resource WHERE name LIKE 'Potholes%' ORDER BY name")] == [
        f"{new}potholes/1.json",
        "https://files.example.org/potholes/2.json",
    ]


# What of ours a policy without inline code and styles would refuse; CKAN's own pages need both.
STRICT = "script-src 'self'; style-src 'self'; img-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'"
COLLECT = """window.archiverRefused = [];
addEventListener('securitypolicyviolation', event => {
    const where = event.target instanceof Element ? event.target : null;
    if (where?.closest('[class*="archiver-"]') || /archiver.*[.]js/.test(event.sourceFile))
        window.archiverRefused.push([event.effectiveDirective, event.blockedURI, where?.outerHTML.slice(0, 200)]);
});"""


def test_a_strict_content_security_policy_refuses_nothing_of_ours(
    window: Callable[..., Window], portal: dict[str, str]
) -> None:
    tab = window()
    tab.log_in("editor")
    cookies = tab.page.context.cookies()
    # Read before the browser is there again: its idle connections keep CKAN's development server busy.
    tab.page.context.close()
    session = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in cookies)
    texts = {}
    for path in (*PAGES, *portal.values()):
        asked = urllib.request.Request(tab.site + path, headers={"Cookie": session})
        with urllib.request.urlopen(asked, timeout=20) as page:
            texts[tab.site + path] = page.read()

    tab = window()
    tab.page.context.add_cookies(cookies)
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy-report-only": STRICT}
    tab.page.route(
        lambda url: url in texts, lambda route: route.fulfill(headers=headers, body=texts[route.request.url])
    )
    tab.page.add_init_script(COLLECT)
    for url in texts:
        tab.go(url.removeprefix(tab.site))
        assert tab.page.evaluate("window.archiverRefused") == [], url
    tab.go(PAGES[0])
    tab.page.evaluate("document.querySelector('[class*=archiver-]').setAttribute('style', 'color: red')")
    tab.page.wait_for_function("window.archiverRefused.length === 1")


def test_without_javascript_everything_is_there(window: Callable[..., Window]) -> None:
    tab = window(javascript=False)
    for path in PAGES[:-1]:
        tab.go(path)
        assert tab.page.locator(".archiver-report h1").is_visible()
    tab.go("/report/broken-links")
    tab.page.get_by_text("The same as a table").click()
    assert tab.page.locator(".archiver-chart tbody tr").first.is_visible()


def test_right_to_left(window: Callable[..., Window]) -> None:
    for width in WIDTHS:
        tab = window(width)
        for path in ("/ar/report/broken-links", "/ar/archiver/links?verdict=any"):
            tab.go(path)
            assert tab.page.evaluate(BEYOND) == []


ENGLISH = re.compile(r"\b(?:the|broken|checked|since|copy|of|and)\b", re.IGNORECASE)
# Titles, addresses and names are as their authors wrote them; so is what has a language of its own.
OWN_WORDS = """() => {
    const found = new Set(), theirs = 'bdi, [lang="en"], script, style, code, input, option[value]';
    for (const root of document.querySelectorAll('[class*="archiver-"]')) {
        const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const text = walker.currentNode.data.trim();
            if (text && !walker.currentNode.parentElement.closest(theirs)) found.add(text);
        }
    }
    return [...found];
}"""


@pytest.mark.parametrize("width", WIDTHS)
def test_the_pages_in_german(window: Callable[..., Window], portal: dict[str, str], width: int) -> None:
    tab = window(width)
    tab.log_in("editor")
    for path in (*PAGES, *portal.values()):
        tab.go("/de" + path)
        assert tab.page.evaluate(BEYOND) == [], path
        words = [text.replace("Office of Nothing At All", "") for text in tab.page.evaluate(OWN_WORDS)]
        english = [text for text in words if ENGLISH.search(text)]
        assert english == [], path
    tab.go("/de/report/broken-links")
    assert tab.page.locator("h1").inner_text() == "Defekte Links"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_sysadmin_pauses_archiving(
    window: Callable[..., Window], theme: dict[str, str], width: int, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    factories.Sysadmin(name="boss", password=PASSWORD)
    tab = window(width, theme)
    tab.log_in("boss")
    tab.go("/ckan-admin/archiver")
    assert "NO WORKER" in tab.page.locator(".archiver-admin").inner_text()
    for button, then in (("Pause archiving", "Resume archiving"), ("Resume archiving", "Pause archiving")):
        tab.page.get_by_role("button", name=button).click()
        tab.page.get_by_role("button", name=then).wait_for()
        tab.page.screenshot(path=tmp_path / "admin.png")
        assert ours(tab.page, axe.run(tab.page).response["violations"]) == []
        assert tab.page.evaluate(BEYOND) == []
    assert tab.complaints == []


HIDDEN = """() => [...document.querySelectorAll('.archiver-chart text')].filter(text => {
    const box = text.getBoundingClientRect(), figure = text.closest('figure').getBoundingClientRect();
    return box.width && (box.left < figure.left - 1 || box.right > figure.right + 1);
}).map(text => text.textContent)"""


@pytest.mark.parametrize("language", ["en", "pl"])
def test_on_a_phone_nothing_is_cut_squeezed_or_outside(window: Callable[..., Window], language: str) -> None:
    tab = window(390)
    tab.go(f"/{language}/report/broken-links")
    assert tab.page.evaluate(HIDDEN) == []
    caption = tab.page.locator(".archiver-caption").bounding_box()
    assert caption["width"] > 300, "a line, not a column"
    row = tab.page.locator("#archiver-organizations ~ table tbody tr").first
    assert row.evaluate("row => [...row.cells].filter(cell => cell.scrollWidth > cell.clientWidth).length") == 0


def test_rows_are_blocks_where_the_text_is_twice_as_large(window: Callable[..., Window]) -> None:
    tab = window(640)
    tab.go("/archiver/links")
    assert all(box.bounding_box()["width"] > 300 for box in tab.page.locator(".archiver-rows .archiver-url").all())


def test_the_bar_hides_no_focus(window: Callable[..., Window]) -> None:
    tab = window(1280)
    tab.page.set_viewport_size({"width": 1280, "height": 700})
    # Else the page is on its way when it is measured.
    tab.page.emulate_media(reduced_motion="reduce")
    tab.log_in("editor")
    tab.go("/archiver/links?verdict=any")
    hidden = """() => {
        const element = document.activeElement, bar = document.querySelector('.archiver-act').getBoundingClientRect();
        return element.closest('.archiver-rows') && element.getBoundingClientRect().bottom > bar.top + 1;
    }"""
    tab.page.locator(".archiver-tick input").first.focus()
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        assert not tab.page.evaluate(hidden), tab.page.evaluate("document.activeElement.outerHTML")


def test_paper_and_forced_colours_show_what_the_screen_does(
    window: Callable[..., Window], portal: dict[str, str]
) -> None:
    tab = window()
    tab.log_in("editor")
    tab.go("/archiver/links")
    selected = "getComputedStyle(document.querySelector('.archiver-chip-on')).borderTopWidth"
    for media in ({"media": "print"}, {"media": "screen", "forced_colors": "active"}):
        tab.page.emulate_media(**media)
        assert tab.page.evaluate(selected) == "3px", media
        bar = tab.page.locator(".archiver-act, .archiver-tick").first
        assert bar.is_visible() is (media["media"] == "screen")
    tab.go(portal["broken"])
    day = tab.page.locator(".archiver-day-broken").first
    assert day.evaluate("day => getComputedStyle(day).backgroundColor") == "rgb(176, 42, 55)"
    assert day.evaluate("day => getComputedStyle(day).printColorAdjust") == "exact"


# Sentences that are in English, and in lines that run from right to left: their full stop is on the wrong side.
OUR_TEXT = ".archiver-report p, .archiver-panel p, .archiver-badge, .archiver-instead span"
TURNED = """selector => [...document.querySelectorAll(selector)]
    .filter(e => e.getClientRects().length && /^[\\d\\s]*[A-Za-z]/.test(e.textContent.trim()))
    .filter(e => getComputedStyle(e).direction === 'rtl').map(e => e.textContent.trim())"""


def test_english_sentences_run_from_left_to_right(window: Callable[..., Window], portal: dict[str, str]) -> None:
    tab = window()
    tab.log_in("editor")
    for path in (*PAGES, portal["broken"], portal["ok"], portal["moved"], portal["dataset"], portal["search"]):
        tab.go("/ar" + path)
        assert tab.page.evaluate(TURNED, OUR_TEXT) == [], path
        assert tab.page.evaluate(BEYOND) == [], path
