"""The pages and files of the Broken Links report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ckan.plugins.toolkit as tk
from flask import Blueprint, Response, make_response

from ckanext.archiver import checking_now, exports, link_list, reports, summary
from ckanext.archiver.engine.outcome import Cause, Verdict
from ckanext.archiver.link_list import BadFilterError, Filters, Reader

archiver_report = Blueprint("archiver_report", __name__)

FORMATS = ("html", *exports.FORMATS, "atom")

PATH = "/report/broken-links"

ORGANIZATIONS_SHOWN = 50


def get_blueprints() -> list[Blueprint]:
    """Those of the report, for ``IBlueprint``."""
    return [archiver_report]


@archiver_report.route(PATH)
@archiver_report.route(f"{PATH}/<organization>")
def broken_links(organization: str | None = None) -> Response | str:
    """The report: the overview, or the list of an organization or of filters, as a page or a file."""
    arguments = tk.request.args
    format_ = arguments.get("format") if arguments.get("format") in FORMATS else None
    if arguments.get("format") and format_ is None and not _is_list(arguments):
        return tk.abort(400, tk._("The format must be html, csv, json, xlsx or atom."))
    format_ = arguments.get("as") or format_ or "html"
    try:
        include = tk.asbool(arguments.get("include_sub_organizations") or False)
    except ValueError:
        return tk.abort(400, tk._("include_sub_organizations must be 1 or 0."))
    organization = organization or arguments.get("organization") or None
    try:
        if not _is_list(arguments) and format_ in ("csv", "json"):
            return _old_file(organization, include, format_)
        if format_ == "html" and not organization and not _is_list(arguments):
            return _overview(include)
        return _list(organization, include, format_)
    except tk.ObjectNotFound:
        return tk.abort(404, tk._("There is no such organization."))
    except BadFilterError as e:
        return tk.abort(400, str(e))


def _is_list(arguments: Mapping[str, Any]) -> bool:
    """Whether a query string has filters, so that it names a list."""
    names = {*Filters.names(), "after", "as"} - {"organization", "format"}
    return any(name in arguments for name in names)


def _list(organization: str | None, include: bool, format_: str) -> Response | str:
    given = dict(tk.request.args)
    if "as" not in given and given.get("format") in FORMATS:
        # The parameter of older releases that chooses a file, not the filter by a resource's format.
        given.pop("format")
    if organization:
        given["organization"] = organization
    if include:
        given["below"] = "1"
    filters, reader = Filters.of(given), Reader.of(tk.current_user)
    if format_ in exports.FORMATS:
        return _stream(filters, reader, format_)
    page = link_list.page(filters, reader, tk.request.args.get("after"))
    variables = {"page": page, "filters": filters, "reader": reader}
    if format_ == "atom":
        response = make_response(tk.render("archiver/feed.xml", variables))
        response.headers["Content-Type"] = "application/atom+xml; charset=utf-8"
        return response
    if format_ != "html":
        return tk.abort(400, tk._("The format must be html, csv, json, xlsx or atom."))
    group = reports.get_organization(filters.organization) if filters.organization else None
    variables |= {
        "group": group,
        "verdicts": [
            *(verdict.value for verdict in (Verdict.BROKEN, Verdict.FAILING, Verdict.NOT_SURE)),
            link_list.ANY,
            "ok",
        ],
        "causes": [cause.value for cause in Cause if cause not in (Cause.OK, Cause.TOO_LARGE)],
        "sorts": list(link_list.SORTS),
        "can_check": reader.can_edit,
    }
    html: str = tk.render("archiver/links.html", variables)
    return html


def _overview(include: bool) -> str:
    data = reports.broken_links(include_sub_organizations=include)
    search = tk.request.args.get("find", "").strip()
    rows = [
        row
        for row in data["table"]
        if search.lower() in f"{row['organization_title']} {row['organization_name']}".lower()
    ]
    html: str = tk.render(
        "archiver/report.html",
        {
            "data": data,
            "rows": rows[:ORGANIZATIONS_SHOWN],
            "hidden": max(len(rows) - ORGANIZATIONS_SHOWN, 0),
            "find": search,
            "include_sub_organizations": include,
            "overview": summary.overview_of_portal(),
        },
    )
    return html


def _old_file(organization: str | None, include: bool, format_: str) -> Response:
    """The file of older releases: the organizations, or the broken links of one."""
    data = reports.broken_links(organization=organization, include_sub_organizations=include)
    text = reports.as_csv(data) if format_ == "csv" else reports.as_json(data)
    return _file([text], format_, data.get("organization_name"))


def _stream(filters: Filters, reader: Reader, format_: str) -> Response:
    write, _ = exports.FORMATS[format_]
    links = link_list.export(filters, reader)
    return _file(write(links), format_, filters.organization or None)


def _file(parts: Iterable[Any] | Iterator[Any], format_: str, organization: str | None) -> Response:
    name = "-".join(["broken-links", *([organization] if organization else [])])
    response = Response(parts, content_type=exports.FORMATS[format_][1])
    if format_ != "json":
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.{format_}"'
    return response


# -- acting ------------------------------------------------------------------------------------------------


@archiver_report.route(f"{PATH}-check", methods=["POST"])
def check_again() -> Any:
    """Request a check of every link of a list that the reader may edit."""
    form = tk.request.form
    try:
        filters = Filters.of(form)
        reader = Reader.of(tk.current_user)
        if not reader.can_edit:
            return tk.abort(403, tk._("You are not allowed to edit any of these datasets."))
        where, params = link_list.condition(filters, reader)
    except tk.ObjectNotFound:
        return tk.abort(404, tk._("There is no such organization."))
    except BadFilterError as e:
        return tk.abort(400, str(e))
    where += " AND (:sees_all OR p.owner_org = ANY(:editable))"
    chosen = form.getlist("resource_id")
    if chosen:
        where += " AND r.id = ANY(:chosen)"
    _, count = checking_now.request_selection(where, params | {"editable": list(reader.editable), "chosen": chosen})
    done = tk.ungettext("A check of {count} link is requested.", "Checks of {count} links are requested.", count)
    tk.h.flash_success(done.format(count=tk.h.localised_number(count)))
    return tk.redirect_to("archiver_report.broken_links", **(filters.arguments() or {"verdict": filters.verdict}))
