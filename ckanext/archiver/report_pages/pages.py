"""The pages of the Broken Links report, its files, and its feed."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import ckan.plugins.toolkit as tk
import flask
from flask import Blueprint, Response, make_response, stream_with_context

from ckanext.archiver import advice, clock, forged_forms, link_actions, reports, tables
from ckanext.archiver.queue import pauses
from ckanext.archiver.report import chart, counts, exports, feed, groups, labels, listing, organizations, reader, words
from ckanext.archiver.report.filters import BadFilter, LinkFilter, parse

log = logging.getLogger(__name__)

archiver_report = Blueprint("archiver_report", __name__)
archiver_report.before_request(forged_forms.refuse)
archiver_report.before_request(tables.refuse_without)


@archiver_report.errorhandler(labels.SearchAwayError)
def _without_index(error: labels.SearchAwayError) -> tuple[str, int]:
    log.error("%s", error)
    sentence = tk._("The report is not available: the search index does not answer.")
    html: str = tk.render("error_document_template.html", {"code": 503, "name": "", "content": sentence})
    return html, 503


FORMATS = ("html", "csv", "json", "xlsx", "atom")

ORGANIZATIONS = 50
"""Rows of the overview's table of organizations."""

CHART_DAYS = 365

OFFERED = 200
"""Most organizations that the filter offers; where there are more, a title or name has to be typed."""

PAUSES = 5
"""Most pauses by an operator that the overview shows."""

Dict = dict[str, Any]


def _format() -> str:
    format_ = tk.request.args.get("format") or "html"
    if format_ not in FORMATS:
        tk.abort(400, tk._("The format must be html, csv, json, xlsx or atom."))
    return str(format_)


def _refuse(status: int, sentence: str) -> NoReturn:
    """Answer with an error: a page for people, and the sentence alone for programs, which cannot read a page.

    :param sentence: why
    """
    if _format() == "html":
        tk.abort(status, sentence)
    flask.abort(Response(f"{sentence}\n", status, content_type="text/plain; charset=utf-8"))


def _filter(organization: str | None = None) -> LinkFilter:
    arguments = dict(tk.request.args.items())
    if organization:
        arguments["organization"] = organization
    try:
        return parse(arguments)
    except BadFilter as e:
        _refuse(400, str(e))


def log_in(sentence: str, page: str) -> Response:
    """Lead to the log-in, and from there back to a page.

    :param sentence: why
    :param page: its URL
    """
    tk.h.flash_notice(sentence)
    response: Response = tk.redirect_to("user.login", came_from=page)
    return response


# -- pages --------------------------------------------------------------------------------------------------


@archiver_report.route("/report/broken-links")
@archiver_report.route("/report/broken-links/<organization>")
def broken_links(organization: str | None = None) -> Response | str:
    """The overview; with an organization, its list."""
    if organization or tk.request.args.get("organization"):
        return _list(_filter(organization))
    wanted, format_, who = _filter(), _format(), reader.current()
    if format_ == "html":
        return _overview(wanted, who)
    if format_ == "atom":
        return _feed(wanted, who)
    data = reports.index(who, wanted.include_sub_organizations)
    if format_ == "json":
        table = data.pop("table")
        return _file(exports.as_json(data, table), format_, "broken-links")
    return _file(exports.TABLES[format_](exports.INDEX_COLUMNS, data["table"]), format_, "broken-links")


@archiver_report.route("/archiver/links")
def link_list() -> Response | str:
    """The list of the whole portal, or of what the filter says."""
    return _list(_filter())


def _list(wanted: LinkFilter) -> Response | str:
    who, format_ = reader.current(), _format()
    try:
        if wanted.mine and not who.user:
            if format_ != "html":
                _refuse(403, tk._("Log in to see the links of your organizations."))
            page = tk.url_for("archiver_report.link_list", **wanted.parameters())
            return log_in(tk._("Log in to see the links of your organizations."), page)
        if format_ == "atom":
            return _feed(wanted, who)
        if format_ != "html":
            return _export(wanted, who, format_)
        return _list_page(wanted, who)
    except tk.ObjectNotFound:
        sentence = tk._("There is no such organization.")
        if format_ != "html" or not tk.request.args.get("organization"):
            _refuse(404, sentence)
        # Of the form: its other fields stay.
        tk.h.flash_error(sentence)
        others = wanted.with_(organization="", include_sub_organizations=False).parameters()
        return tk.redirect_to("archiver_report.link_list", **others)
    except BadFilter as e:
        _refuse(400, str(e))


def _list_page(wanted: LinkFilter, who: reader.Reader) -> str:
    organization = organizations.get(wanted.organization) if wanted.organization else None
    page = listing.page(wanted, who, tk.request.args.get("after", ""), tk.request.args.get("previous", ""))
    editable = link_actions.editable(who, page.rows)
    html: str = tk.render(
        "archiver/report_list.html",
        {
            "wanted": wanted,
            "organization": organization,
            "page": page,
            "total": listing.total_beside(page, wanted, who),
            "chips": words.chips(wanted, organization),
            "is_whole": _is_whole(wanted),
            "state_names": words.states(),
            "sort_names": words.sorts(wanted),
            "offered": organizations.titles(OFFERED),
            "checking": link_actions.being_checked([row["resource_id"] for row in page.rows]),
            "editable": editable,
            "may_edit": bool(editable) or link_actions.may_edit_anything(who),
            "cause_name": advice.name,
            "cause_advice": advice.advice,
            "causes": words.causes(wanted),
        },
    )
    return html


def _is_whole(wanted: LinkFilter) -> bool:
    whose = {"organization": "", "include_sub_organizations": False, "mine": False, "sort": None}
    return wanted.with_(**whose, verdict="") == LinkFilter(verdict="")


def _overview(wanted: LinkFilter, who: reader.Reader) -> str:
    source = counts.source(who)
    known = counts.summary(source)
    found = groups.of_portal(source.groups, who)
    may_edit = link_actions.may_edit_anything(who)
    html: str = tk.render(
        "archiver/report.html",
        {
            "known": known,
            "changes": counts.changes(who),
            "chart": chart.share(counts.history(CHART_DAYS)),
            "groups": found,
            "progress": link_actions.progress(found, who) if who.user else {},
            "organizations": _organizations(source),
            "counted_at": _naive(source.counted_at),
            "round_ends": _naive(source.round_ends) if _is_to_come(source.round_ends) else None,
            "causes": advice.NAMES,
            "cause_name": advice.name,
            "cause_advice": advice.advice,
            "percent": reports.percent,
            "may_edit": may_edit,
            "paused": [words.paused(pause.as_dict()) for pause in pauses.current(PAUSES)] if may_edit else [],
            "include_sub_organizations": wanted.include_sub_organizations,
        },
    )
    return html


def _is_to_come(moment: datetime.datetime | None) -> bool:
    """Whether an estimate is worth showing: the worker counts now and then, and the round may be over."""
    return moment is not None and moment > clock.utc()


def _naive(moment: datetime.datetime | None) -> str | None:
    """As archiver_time takes it."""
    naive = clock.naive(moment)
    return naive.isoformat() if naive else None


def _organizations(source: counts.Source) -> Dict:
    """The overview's table of organizations: searched, sorted, and a page of it."""
    arguments = tk.request.args
    sort, text = arguments.get("org_sort") or "broken", (arguments.get("org_q") or "").strip()
    if sort not in _ORGANIZATION_SORTS:
        tk.abort(
            400,
            tk._("{name} must be one of {choices}.").format(name="org_sort", choices=", ".join(_ORGANIZATION_SORTS)),
        )
    number = arguments.get("org_page") or "1"
    if not (number.isdecimal() and len(number) < 6 and int(number) >= 1):
        tk.abort(400, tk._("org_page is the number of a page."))
    parent = arguments.get("below") or ""
    rows = counts.by_organization(source, include_sub_organizations=True)
    tree = organizations.tree()
    if text:
        rows = [row for row in rows if text.lower() in row["organization_title"].lower()]
    else:
        try:
            wanted = organizations.children(tree, parent)
        except tk.ObjectNotFound:
            return tk.abort(404, tk._("There is no such organization."))
        rows = [row for row in rows if row["organization_name"] in wanted]
    rows = sorted(rows, key=_ORGANIZATION_SORTS[sort])
    start = (int(number) - 1) * ORGANIZATIONS
    return {
        "rows": [
            {
                **reports.with_percents(row),
                "link_count": row["link_count"],
                "broken_link_percent": reports.percent(row["broken_resource_count"], row["link_count"]),
                "below": organizations.below(tree, row["organization_name"]),
            }
            for row in rows[start : start + ORGANIZATIONS]
        ],
        "count": len(rows),
        "first": start + 1,
        "page": int(number),
        "pages": -(-len(rows) // ORGANIZATIONS),
        "sort": sort,
        "q": text,
        "parent": organizations.path(tree, parent) if parent else [],
    }


_ORGANIZATION_SORTS: dict[str, Any] = {
    "broken": lambda row: (-row["broken_resource_count"], row["organization_title"].lower()),
    "share": lambda row: (
        -row["broken_resource_count"] / (row["link_count"] or 1),
        row["organization_title"].lower(),
    ),
    "links": lambda row: (-row["link_count"], row["organization_title"].lower()),
    "name": lambda row: row["organization_title"].lower(),
}


# -- files --------------------------------------------------------------------------------------------------


def _export(wanted: LinkFilter, who: reader.Reader, format_: str) -> Response:
    name, head = "links", {}
    if wanted.organization:
        head = reports.of_organization(who, wanted.organization, wanted.include_sub_organizations)
        name = f"broken-links-{head['organization_name']}"
    rows = map(reports.link, listing.stream(wanted, who))
    if format_ == "json":
        return _file(exports.as_json(head, rows), format_, name)
    return _file(exports.TABLES[format_](exports.LINK_COLUMNS, rows), format_, name)


def _file(pieces: Iterator[Any], format_: str, name: str) -> Response:
    response = Response(stream_with_context(pieces), headers={"Content-Type": exports.TYPES[format_]})
    if format_ in exports.TABLES:
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.{format_}"'
    return _private(response)


def _feed(wanted: LinkFilter, who: reader.Reader) -> Response:
    arguments: Mapping[str, Any] = wanted.parameters()
    page = tk.url_for("archiver_report.link_list", _external=True, **arguments)
    itself = tk.url_for("archiver_report.link_list", _external=True, **{**arguments, "format": "atom"})
    entries = feed.entries(wanted, who)
    response = make_response(feed.atom(entries, page, itself))
    response.headers["Content-Type"] = exports.TYPES["atom"]
    return _private(response)


def _private(response: Response) -> Response:
    if not reader.current().sees_only_public:
        # Read by set_cache_control_headers_for_response, which runs after this view.
        tk.request.environ["__no_cache__"] = True
    return response
