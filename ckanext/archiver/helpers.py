"""Template helpers. They return text or plain data, which the templates escape.

Nothing that a remote server sent becomes markup, or a URL that a browser would run.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import ckan.plugins.toolkit as tk
from ckan import model
from flask import g
from markupsafe import Markup

from ckanext.archiver import clock, config, links, search, views
from ckanext.archiver.engine import urls
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.engine.reasons import REASONS
from ckanext.archiver.model import ArchivalCheck, verdict_of
from ckanext.archiver.queue_tables import ArchiverRequest
from ckanext.archiver.report import listing, reader
from ckanext.archiver.report.filters import LinkFilter

__all__ = [
    "archiver_broken_links",
    "archiver_cached_copy",
    "archiver_dataset_state",
    "archiver_format_resource_items",
    "archiver_history",
    "archiver_is_resource_broken_html",
    "archiver_is_resource_cached_html",
    "archiver_panel",
    "archiver_percent",
    "archiver_reason",
    "archiver_redact",
    "archiver_report_link",
    "archiver_resource_state",
    "archiver_time",
    "format_resource_items",
]

NEVER = "never"

HISTORY_LENGTH = 30
CERTIFICATE_NOTICE = datetime.timedelta(days=14)

ICONS = {
    Verdict.OK.value: "circle-check",
    Verdict.FAILING.value: "clock",
    Verdict.BROKEN.value: "link-slash",
    Verdict.NOT_SURE.value: "circle-question",
    search.WAITING: "hourglass-half",
    NEVER: "circle-question",
}

Dict = dict[str, Any]


# -- one resource ------------------------------------------------------------------------------------------


def archiver_resource_state(resource: Dict) -> Dict:
    """The state of a resource's link, for a badge.

    :param resource: the resource as package_show gives it
    :returns: ``verdict`` ("ok", "failing", "broken", "not-sure", "waiting" or "never"), ``label``, ``icon``
        (a Font Awesome name), ``css`` (a class) and ``requested`` (whether a check is waiting or running)
    """
    archival = resource.get(search.KEY) or {}
    requested = resource.get("id") in _requested(resource.get("package_id"))
    verdict = _verdict(archival)
    if verdict is None or _is_about_another_url(archival, resource):
        verdict = search.WAITING if requested else NEVER
    return _state(verdict) | {"requested": requested}


def _state(verdict: str) -> Dict:
    css = {search.WAITING: Verdict.NOT_SURE.value, NEVER: Verdict.NOT_SURE.value}.get(verdict, verdict)
    return {
        "verdict": verdict,
        "label": search.state_label(search.NOT_CHECKED if verdict == NEVER else verdict),
        "icon": ICONS[verdict],
        "css": f"archiver-{css}",
    }


def _verdict(archival: Dict) -> str | None:
    return verdict_of(archival.get("verdict"), archival.get("is_broken")).value if archival else None


def _is_about_another_url(archival: Dict, resource: Dict) -> bool:
    return not links.is_about(archival.get("source_url"), resource, redact=urls.redact)


def _requested(package_id: str | None) -> set[str]:
    """Ids of the resources of a dataset for which a check is waiting or running; one query per page."""
    if not package_id:
        return set()
    by_package: dict[str, set[str]] = g.setdefault("archiver_requested", {})
    if package_id not in by_package:
        rows = model.Session.query(ArchiverRequest.resource_id).filter(ArchiverRequest.package_id == package_id)
        by_package[package_id] = {row.resource_id for row in rows}
    return by_package[package_id]


def archiver_panel(resource: Dict, package: Dict) -> Dict | None:
    """Everything on the panel of the resource page; None for an old version of it in the activity stream.

    :returns: what :func:`archiver_resource_state` gives, and ``heading``, ``reason``, ``archival`` (a dict,
        empty if the link was never checked or the row is about another URL), ``cached_copy``, ``history``,
        ``moved_to``, ``redirected_to``, ``certificate_expires``
    """
    if "activity_id" in (tk.request.view_args or {}):
        return None
    state = archiver_resource_state(resource)
    is_checked = state["verdict"] not in (search.WAITING, NEVER)
    archival = resource.get(search.KEY) or {} if is_checked else {}
    return state | {
        "heading": _heading(state["verdict"], archival, resource),
        "reason": _sentence(state, archival),
        "archival": archival,
        "cached_copy": archiver_cached_copy(resource, package) if is_checked else None,
        "history": archiver_history(resource["id"]) if is_checked else None,
        "moved_to": _other_url(archival.get("permanent_url"), resource),
        "redirected_to": _other_url(archival.get("url_redirected_to"), resource),
        "certificate_expires": _expires_soon(archival),
    }


def _heading(verdict: str, archival: Dict, resource: Dict) -> str:
    if verdict == Verdict.BROKEN:
        since = archival.get("broken_since") or archival.get("first_failure")
        return _since(tk._("This link has been broken since {date}"), tk._("This link is broken"), since)
    if verdict == Verdict.FAILING:
        since = archival.get("failing_since") or archival.get("first_failure")
        return _since(tk._("This link has been failing since {date}"), tk._("This link is failing"), since)
    if verdict == Verdict.OK:
        return tk._("This file is available") if resource.get("url_type") == "upload" else tk._("This link works")
    return {
        search.WAITING: tk._("This link is waiting to be checked"),
        NEVER: tk._("This link has not been checked yet"),
    }.get(verdict, tk._("It is not sure whether this link works"))


def _since(sentence: str, without_date: str, since: str | None) -> str:
    return sentence.format(date=tk.h.render_datetime(since)) if since else without_date


def _sentence(state: Dict, archival: Dict) -> str:
    if state["verdict"] == search.WAITING:
        return tk._("The check is in the queue. Reload the page to see the result.")
    if archival.get("detail") == "ok-checked":
        return ""  # the heading says it
    reason = archiver_reason(archival)
    if state["verdict"] == Verdict.FAILING:
        return f"{reason} {tk._('It is checked again before it is called broken.')}".strip()
    return reason


def archiver_reason(archival: Dict) -> str:
    """The reason for a link's state, as a sentence in the reader's language.

    :param archival: the dict of an archival, or any with ``detail``, ``facts`` and ``reason``
    """
    sentence = REASONS.get(archival.get("detail") or "")
    if sentence:
        try:
            return str(tk._(sentence).format(**_facts(archival)))
        except (KeyError, IndexError, ValueError):
            # A translation with a wrong name in braces must not break the page; the English sentence is stored.
            pass
    return str(archival.get("reason") or "")


AMOUNTS = ("expected", "length", "limit", "received", "size")
"""Facts that are amounts, not codes like a status."""


def _facts(archival: Dict) -> Dict:
    facts = archival.get("facts") or {}
    amounts = {name: facts[name] for name in AMOUNTS if isinstance(facts.get(name), int)}
    return facts | {name: tk.h.localised_number(amount) for name, amount in amounts.items()}


def _other_url(url: str | None, resource: Dict) -> Dict | None:
    if not url or url == resource.get("url"):
        return None
    return {"url": url, "is_link": _scheme(url) in ("http", "https")}


def _scheme(url: str) -> str:
    """The scheme of a URL; empty for a URL that cannot be parsed."""
    try:
        return urlsplit(url).scheme.lower()
    except ValueError:
        return ""


def _expires_soon(archival: Dict) -> str | None:
    expires = archival.get("certificate_expires")
    if not expires:
        return None
    left = datetime.datetime.fromisoformat(expires) - clock.naive_utc()
    return expires if datetime.timedelta(0) < left <= CERTIFICATE_NOTICE else None


def archiver_history(resource_id: str) -> Dict | None:
    """The last checks of a resource, oldest first; None without any.

    :returns: ``checks`` (dicts with ``css`` and ``title``) and ``text``, the same in words
    """
    newest = (
        model.Session.query(ArchivalCheck.checked_at, ArchivalCheck.verdict)
        .filter(ArchivalCheck.resource_id == resource_id)
        .order_by(ArchivalCheck.checked_at.desc(), ArchivalCheck.id.desc())
        .limit(HISTORY_LENGTH)
        .all()
    )
    if not newest:
        return None
    checks = [
        {
            "css": f"archiver-check-{check.verdict}",
            "title": f"{tk.h.render_datetime(check.checked_at, with_hours=True)}: {search.state_label(check.verdict)}",
        }
        for check in reversed(newest)
    ]
    failed = sum(check.verdict in (Verdict.FAILING.value, Verdict.BROKEN.value) for check in newest)
    not_sure = sum(check.verdict == Verdict.NOT_SURE.value for check in newest)
    count = len(checks)
    text = tk.ungettext("{failed} of {count} check failed", "{failed} of {count} checks failed", count)
    if not_sure:
        text = tk._("{count} checks: {failed} failed, {not_sure} not sure")
    return {"checks": checks, "text": text.format(failed=failed, not_sure=not_sure, count=count)}


def archiver_cached_copy(resource: Dict, package: Dict | None = None) -> Dict | None:
    """The cached copy of a resource: ``url``, ``size`` (text), ``saved`` (ISO); None without a copy.

    :param package: the dataset, if known; only the copy of a public dataset is linked outside CKAN
    """
    archival = resource.get(search.KEY) or {}
    if not archival.get("cache_filepath"):
        return None
    is_public = package is not None and not package.get("private") and package.get("state") == "active"
    size = archival.get("size")
    return {
        "url": views.cached_copy_url(archival, is_public=is_public),
        "size": tk.h.localised_filesize(size) if size else "",
        "saved": archival.get("cached_at") or archival.get("last_success") or archival.get("updated"),
    }


# -- a dataset ---------------------------------------------------------------------------------------------


def archiver_dataset_state(package: Dict) -> Dict | None:
    """The state of a dataset's links, for a badge; None when there is nothing to say.

    :returns: ``verdict``, ``label``, ``icon``, ``css``, as :func:`archiver_resource_state`
    """
    verdicts = [archiver_resource_state(resource)["verdict"] for resource in package.get("resources") or ()]
    checked = [verdict for verdict in verdicts if verdict not in (search.WAITING, NEVER)]
    broken, failing = checked.count(Verdict.BROKEN.value), checked.count(Verdict.FAILING.value)
    if broken:
        label = tk.ungettext("{count} broken link", "{count} broken links", broken).format(count=broken)
        return _state(Verdict.BROKEN.value) | {"label": label}
    if failing:
        label = tk.ungettext("{count} failing link", "{count} failing links", failing).format(count=failing)
        return _state(Verdict.FAILING.value) | {"label": label}
    if checked and len(checked) == len(verdicts) and set(checked) == {Verdict.OK.value}:
        return _state(Verdict.OK.value) | {"label": tk._("All links work")}
    return None


# -- the report --------------------------------------------------------------------------------------------


def archiver_report_link() -> bool:
    """Whether every page links to the Broken Links report."""
    return config.report_link()


def archiver_broken_links(organization_id: str) -> str:
    """How many broken links of an organization the reader may see, as text: "12", or "10,000+"."""
    total = listing.total(LinkFilter(organization=organization_id), reader.current())
    number: str = tk.h.localised_number(min(total.links, listing.COUNTED))
    return number if total.is_exact else f"{number}+"


def archiver_redact(url: str) -> str:
    """A URL without its password."""
    return urls.redact(url)


# -- times and numbers -------------------------------------------------------------------------------------


def archiver_time(moment: str | None, relative: bool = True, hours: bool = True) -> Markup:
    """A moment as ``<time>``, in the reader's language and the site's time zone, and how long ago it was.

    :param moment: naive UTC, ISO 8601, as in the dict of an archival
    :param relative: with how long ago
    :param hours: with the time of day
    """
    if not moment:
        return Markup()
    exact = tk.h.render_datetime(moment, with_hours=hours)
    time = Markup('<time datetime="{}Z">{}</time>').format(moment, exact)
    if not relative:
        return time
    return time + Markup(' <span class="archiver-ago">({})</span>').format(tk.h.time_ago_from_timestamp(moment))


def archiver_percent(value: float) -> str:
    """A percentage in the reader's notation: "7.4 %"."""
    return tk._("{number} %").format(number=tk.h.localised_number(value))


# -- names that themes use --------------------------------------------------------------------------------


def archiver_is_resource_broken_html(resource: Dict) -> Markup:
    """The state of a resource's link as a badge; empty for a link that was never checked."""
    state = archiver_resource_state(resource)
    if state["verdict"] == NEVER:
        return Markup()
    html: Markup = tk.render_snippet("archiver/snippets/badge.html", {"state": state})
    return html


def archiver_is_resource_cached_html(resource: Dict) -> Markup:
    """A link to the cached copy; empty without one."""
    copy = archiver_cached_copy(resource)
    html: Markup = tk.render_snippet("archiver/snippets/cached_link.html", {"copy": copy}) if copy else Markup()
    return html


HIDDEN_KEYS = {
    search.KEY,
    "qa",
    "cache_filepath",
    "cache_last_updated",
    "cache_url",
    "hash",
    "package_id",
    "position",
    "state",
    "tracking_summary",
    "revision_id",
    "resource_group_id",
    "name",
    "description",
    "url",
}


def archiver_format_resource_items(items: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    """The fields of a resource that readers need, as (label, text) pairs in alphabetical order."""
    output = []
    for key, value in items:
        if key in HIDDEN_KEYS or value in (None, "", [], {}):
            continue
        if key in ("size", "content_length") and str(value).isdigit():
            text = tk.h.localised_filesize(int(value))
        elif isinstance(value, bool):
            text = tk._("Yes") if value else tk._("No")
        elif isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", value):
            text = tk.h.render_datetime(value, with_hours=True)
        else:
            text = str(value)
        output.append((key.replace("_", " "), text))
    return sorted(output)


@tk.chained_helper
def format_resource_items(
    next_helper: Callable[[list[tuple[str, Any]]], list[tuple[str, Any]]], items: Iterable[tuple[str, Any]]
) -> list[tuple[str, Any]]:
    """CKAN's own, without our dict: the panel shows it in words."""
    return next_helper([(key, value) for key, value in items if key != search.KEY])
