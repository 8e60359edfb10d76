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
from flask import g
from markupsafe import Markup

from ckanext.archiver import advice, alternatives, clock, config, history, search, states, views
from ckanext.archiver.badges import NEVER, STORED, archiver_found_dataset_state, archiver_state, some_broken
from ckanext.archiver.engine import urls
from ckanext.archiver.engine.outcome import Cause, Verdict
from ckanext.archiver.engine.reasons import REASONS, SIZES
from ckanext.archiver.history_helpers import (
    archiver_day,
    archiver_history,
    archiver_percent,
    archiver_text_attributes,
)
from ckanext.archiver.links import Kind
from ckanext.archiver.report import listing, reader, words
from ckanext.archiver.report.filters import LinkFilter
from ckanext.archiver.states import LinkState

__all__ = [
    "archiver_advice",
    "archiver_broken_links",
    "archiver_cached_copy",
    "archiver_dataset_state",
    "archiver_day",
    "archiver_dead_link",
    "archiver_format_resource_items",
    "archiver_found_dataset_state",
    "archiver_history",
    "archiver_is_resource_broken_html",
    "archiver_is_resource_cached_html",
    "archiver_panel",
    "archiver_percent",
    "archiver_reason",
    "archiver_redact",
    "archiver_report_link",
    "archiver_resource_show",
    "archiver_resource_state",
    "archiver_state",
    "archiver_text_attributes",
    "archiver_time",
    "format_resource_items",
]

CERTIFICATE_NOTICE = datetime.timedelta(days=14)

Dict = dict[str, Any]


# -- one resource ------------------------------------------------------------------------------------------

_NOTHING = LinkState(url="", archival=None, requested=False)


def _known(resource: Dict) -> LinkState:
    """What is known of a resource's link; one statement for each dataset of a page."""
    package_id = resource.get("package_id")
    if not package_id:
        return _NOTHING
    by_package: dict[str, dict[str, LinkState]] = g.setdefault("archiver_states", {})
    if package_id not in by_package:
        by_package[package_id] = states.of_datasets([package_id])
    return by_package[package_id].get(resource.get("id", ""), _NOTHING)


def _is_old_version() -> bool:
    """Whether the page shows an old version of a dataset, from the activity stream."""
    return "activity_id" in (tk.request.view_args or {}) or "activity_id" in tk.request.args


def archiver_resource_state(resource: Dict) -> Dict:
    """The state of a resource's link, for a badge.

    :param resource: the resource as package_show gives it
    :returns: ``verdict`` ("ok", "failing", "broken", "not-sure", "waiting", "never" or
        "stored", for data in the DataStore), ``label``, ``icon``
        (a Font Awesome name), ``css`` (a class), ``requested`` (whether a check is waiting or running) and
        ``is_due_soon`` (whether its result is worth waiting for)
    """
    return _state_of(_known(resource))


def _state_of(known: LinkState) -> Dict:
    if known.kind is Kind.DATASTORE:
        return archiver_state(STORED) | {"requested": False, "is_due_soon": False}
    verdict = str(known.verdict or (search.WAITING if known.requested else NEVER))
    return archiver_state(verdict) | {"requested": known.requested, "is_due_soon": known.is_due_soon}


def archiver_panel(resource: Dict, package: Dict) -> Dict | None:
    """Everything on the panel of the resource page; None for an old version of it in the activity stream.

    :returns: what :func:`archiver_resource_state` gives, and ``heading``, ``reason``, ``archival`` (a dict,
        empty if the link was never checked or the row is about another URL), ``cached_copy``, ``copy_note`` (what is
        to be known of a copy that is not what the link leads to now), ``history``,
        ``moved_to``, ``redirected_to``, ``certificate_expires``, ``waits_until``, ``host_asked``, ``works_since``,
        ``can_edit``, ``advice`` (for those who may edit), ``web_archive`` (a URL), ``copy_is_missed`` (whether the
        link does not work and there is no copy) and ``snoozed`` (None, or until when and why it is left alone)
    """
    known = _known(resource)
    if _is_old_version() or known.kind is Kind.NONE:
        return None
    state = _state_of(known)
    archival = _plain(known)
    can_edit = known.kind is not Kind.DATASTORE and bool(tk.h.check_access("resource_update", {"id": resource["id"]}))
    return state | {
        "heading": _heading(state["verdict"], archival, resource),
        "reason": _sentence(state, archival),
        "archival": archival,
        "cached_copy": archiver_cached_copy(resource, package),
        "copy_note": _copy_note(archival),
        "history": archiver_history(resource["id"]) if archival else None,
        "moved_to": _other_url(archival.get("permanent_url"), resource),
        "redirected_to": _other_url(archival.get("url_redirected_to"), resource),
        "certificate_expires": _expires_soon(archival),
        "waits_until": known.waits_until.replace(tzinfo=None).isoformat() if known.waits_until else None,
        "host_asked": known.host_asked,
        "can_edit": can_edit,
        "advice": archiver_advice(archival) if can_edit and known.verdict not in (None, Verdict.OK) else "",
        "web_archive": _web_archive(known) if not archival.get("cache_filepath") else None,
        "snoozed": known.snoozed,
        "copy_is_missed": known.verdict in history.FAILED and not archival.get("cache_filepath"),
    }


def _plain(known: LinkState) -> Dict:
    """The columns of an archival as plain data: naive ISO 8601, URLs without credentials; empty without a verdict."""
    if known.archival is None or known.verdict is None:
        return {}
    plain = {}
    for name, value in known.archival.items():
        if isinstance(value, datetime.datetime):
            value = value.replace(tzinfo=None).isoformat()
        plain[name] = urls.redact(value) if value and name in states.URLS else value
    return plain


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
        STORED: tk._("This data is stored in this portal"),
    }.get(verdict, tk._("It is not certain whether this link works"))


def _since(sentence: str, without_date: str, since: str | None) -> str:
    return sentence.format(date=words.isolated(tk.h.render_datetime(since))) if since else without_date


def _sentence(state: Dict, archival: Dict) -> str:
    if state["verdict"] == search.WAITING:
        return tk._("The check is in the queue. The result will be shown here.")
    if archival.get("detail") == "ok-checked":
        return ""  # the heading says it
    reason = archiver_reason(archival)
    if state["verdict"] == Verdict.FAILING:
        again = tk._("The link is checked again before it counts as broken.")
        return f"{reason} {again}".strip()
    return reason


def archiver_advice(archival: Dict) -> str:
    """What a publisher can do about a link, as a sentence in the reader's language; empty when there is nothing.

    :param archival: a dict with ``cause`` and ``detail``
    """
    return advice.advice(archival.get("cause"), archival.get("detail"))


def _copy_note(archival: Dict) -> str:
    """What a reader needs to know before they take the copy for what the link leads to; empty where it is that."""
    if not archival.get("cache_filepath"):
        return ""
    if alternatives.is_of_previous_url(archival):
        return tk._("From its previous URL")
    if archival.get("cause") == Cause.TOO_LARGE or archival.get("detail") == "ok-undecodable":
        return tk._("Of an earlier version of the file, or from its previous URL")
    return ""


def _web_archive(known: LinkState) -> str | None:
    """The listing of a web archive for a link that does not work, when an archive is configured."""
    if not known.url or known.verdict not in history.FAILED:
        return None
    return alternatives.web_archive(known.url)


def archiver_dead_link(resource: Dict, package: Dict) -> Dict | None:
    """What replaces the download of a link that does not work; None for a link that works, and without a replacement.

    :returns: ``url``, ``label`` and ``is_copy``
    """
    known = _known(resource)
    if _is_old_version() or known.verdict not in history.FAILED:
        return None
    copy = archiver_cached_copy(resource, package)
    if copy:
        date = words.isolated(tk.h.render_datetime(copy["saved"])) if copy["saved"] else ""
        label = tk._("Download the copy of {date}").format(date=date) if date else tk._("Download the copy")
        if alternatives.is_of_previous_url(_plain(known)):
            label = tk._("Download the copy from the previous URL")
        return {"url": copy["url"], "label": label, "is_copy": True}
    archive = _web_archive(known)
    return {"url": archive, "label": tk._("Look in a web archive"), "is_copy": False} if archive else None


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
    sizes = SIZES.get(archival.get("detail") or "", ())
    amounts = {name: facts[name] for name in AMOUNTS if isinstance(facts.get(name), int)}
    return facts | {
        name: words.size(amount) if name in sizes else tk.h.localised_number(amount) for name, amount in amounts.items()
    }


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


def archiver_cached_copy(resource: Dict, package: Dict | None = None) -> Dict | None:
    """The cached copy of a resource: ``url``, ``size`` (text), ``saved`` (ISO); None without a copy.

    :param package: the dataset, if known; only the copy of a public dataset is linked outside CKAN
    """
    archival = _plain(_known(resource))
    if not archival.get("cache_filepath"):
        return None
    is_public = package is not None and not package.get("private") and package.get("state") == "active"
    size = archival.get("size")
    return {
        "url": views.cached_copy_url(archival, is_public=is_public),
        "size": words.size(size) if size else "",
        "saved": archival.get("cached_at") or archival.get("last_success") or archival.get("updated"),
    }


# -- a dataset ---------------------------------------------------------------------------------------------


def archiver_dataset_state(package: Dict) -> Dict | None:
    """The state of a dataset's links, for a badge; None when there is nothing to say.

    :returns: ``verdict``, ``label``, ``icon``, ``css``, as :func:`archiver_resource_state`
    """
    states_of_links = [_known(resource) for resource in package.get("resources") or ()]
    verdicts = [_state_of(known)["verdict"] for known in states_of_links if known.kind in (Kind.LINK, Kind.UPLOAD)]
    checked = [verdict for verdict in verdicts if verdict not in (search.WAITING, NEVER)]
    broken, failing = checked.count(Verdict.BROKEN.value), checked.count(Verdict.FAILING.value)
    if broken:
        return some_broken(broken, len(verdicts))
    if failing:
        label = tk.ungettext("{count} of {total} link failing", "{count} of {total} links failing", len(verdicts))
        return archiver_state(Verdict.FAILING.value) | {"label": label.format(count=failing, total=len(verdicts))}
    if checked and len(checked) == len(verdicts) and set(checked) == {Verdict.OK.value}:
        return archiver_state(Verdict.OK.value) | {"label": tk._("All links work")}
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


def archiver_time(moment: str | None, relative: bool = True, hours: bool | None = True) -> Markup:
    """A moment as ``<time>``, in the reader's language and the site's time zone, and how long ago it was.

    :param moment: ISO 8601; UTC when it has no offset
    :param relative: with how long ago
    :param hours: with the time of day; None for a moment of the last day only
    """
    if not moment:
        return Markup()
    at = datetime.datetime.fromisoformat(moment)
    if at.tzinfo is not None:
        at = at.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        moment = at.isoformat()
    if hours is None:
        hours = clock.naive_utc() - at < datetime.timedelta(days=1)
    exact = words.minute(moment) if hours else words.isolated(tk.h.render_datetime(moment))
    zone = "Z" if "T" in moment else ""
    time = Markup('<time datetime="{}{}">{}</time>').format(moment, zone, exact)
    if not relative:
        return time
    return time + Markup(' <span class="archiver-ago">({})</span>').format(tk.h.time_ago_from_timestamp(moment))


# -- names that themes use --------------------------------------------------------------------------------


def archiver_is_resource_broken_html(resource: Dict) -> Markup:
    """The state of a resource's link as a badge; empty for a link that was never checked.

    Rendered by ``archiver/is_resource_broken.html``, which themes override; as in older releases it gets the resource
    and the columns of the archival.
    """
    known = _known(resource)
    state = _state_of(known)
    if state["verdict"] in (NEVER, STORED) or _is_old_version():
        return Markup()
    variables = _plain(known) | {"resource": resource, "state": state}
    html: Markup = tk.render_snippet("archiver/is_resource_broken.html", variables)
    return html


def archiver_is_resource_cached_html(resource: Dict) -> Markup:
    """A link to the cached copy; empty without one.

    Rendered by ``archiver/is_resource_cached.html``, which themes override; as in older releases it gets the resource
    and the columns of the archival.
    """
    copy = archiver_cached_copy(resource)
    if not copy:
        return Markup()
    variables = _plain(_known(resource)) | {"resource": resource, "copy": copy}
    html: Markup = tk.render_snippet("archiver/is_resource_cached.html", variables)
    return html


def archiver_resource_show(resource_id: str) -> Dict:
    """The action of the same name.

    :raises NotFound: the resource does not exist, or its link was never checked
    """
    shown: Dict = tk.get_action("archiver_resource_show")({}, {"id": resource_id})
    return shown


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
        if key in ("size", "content_length") and re.fullmatch(r"[0-9]{1,18}", str(value)):
            text = words.size(int(value))
        elif isinstance(value, bool):
            text = tk._("Yes") if value else tk._("No")
        elif isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", value):
            text = words.minute(value)
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
