"""The actions of the Broken Links report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model

from ckanext.archiver import link_actions
from ckanext.archiver.engine import urls
from ckanext.archiver.logic import report_schema
from ckanext.archiver.report import counts, groups, listing, organizations, reader
from ckanext.archiver.report.filters import BadFilter, LinkFilter, day, parse

Dict = dict[str, Any]


@tk.side_effect_free
def archiver_link_list(context: Any, data_dict: Dict) -> Dict:
    """List links, with the filters of the report's list page; one page at a time.

    Everyone may call it. Links of private datasets and of drafts are listed for those who may read them.

    :param verdict: ``broken`` (the default), ``failing``, ``ok``, ``not-sure``, ``none`` (never checked), ``snoozed``
        (left alone until a date) or ``any``
    :type verdict: string
    :param organization: name or id (optional)
    :type organization: string
    :param include_sub_organizations: the organizations below it as well (optional)
    :type include_sub_organizations: boolean
    :param mine: only of the organizations whose datasets the caller may edit (optional)
    :type mine: boolean
    :param cause: a cause, as in a resource's ``archiver`` (optional)
    :type cause: string
    :param host: a server's name, or a URL on it; ``-`` for links without a server (optional)
    :type host: string
    :param res_format: the resource's format, in any case (optional)
    :type res_format: string
    :param since: in this state since that day or later, like ``2026-10-31``, in UTC (optional)
    :type since: string
    :param before: in this state since before that day (optional)
    :type before: string
    :param has_copy: with a cached copy, or without (optional)
    :type has_copy: boolean
    :param moved: with a permanent redirect, or without (optional)
    :type moved: boolean
    :param q: text in the dataset's title or name, in the resource's name, or in the URL (optional)
    :type q: string
    :param sort: ``longest``, ``newest``, ``dataset`` or ``host``; the first two for ``broken`` and ``failing``
        (optional)
    :type sort: string
    :param after: ``after`` of the page before (optional)
    :type after: string
    :param previous: ``previous`` of the page after, instead of ``after`` (optional)
    :type previous: string
    :param limit: links on a page, 1 to 1000 (optional, default: 50)
    :type limit: integer

    :returns: ``results``, a list of dictionaries; ``after``, which asks for the next page, empty on the last;
        ``previous``, which asks for the page before, empty on the first;
        ``count``, how many links the filter selects, and ``count_is_exact``, false where it is an estimate (above
        10,000). Times are ISO 8601 in UTC, without an offset
    :rtype: dictionary
    :raises ValidationError: for a value that cannot be understood
    :raises NotFound: if there is no such organization
    """
    tk.check_access("archiver_link_list", context, data_dict)
    data = _validated(report_schema.link_list(), data_dict, context)
    who = _reader(context)

    def listed() -> Dict:
        wanted = parse(data)
        page = listing.page(wanted, who, data.get("after") or "", data.get("previous") or "", data["limit"])
        total = listing.total_beside(page, wanted, who)
        return {
            "results": page.rows,
            "after": page.after,
            "previous": page.previous,
            "count": total.links,
            "count_is_exact": total.is_exact,
        }

    return _understood(listed)


@tk.side_effect_free
def archiver_summary(context: Any, data_dict: Dict) -> Dict:
    """Count links by state: of the portal, or of an organization.

    Everyone may call it. Private datasets and drafts are counted for those who may read them. A large portal is counted
    every few minutes.

    :param organization: name or id (optional)
    :type organization: string
    :param include_sub_organizations: count the organizations below it as well (optional)
    :type include_sub_organizations: boolean

    :returns: ``links`` and ``datasets`` (by state: ``broken``, ``failing``, ``ok``, ``not-sure``, ``none``,
        ``snoozed``, and ``no-link`` for resources without a link; a dataset is in the state of its worst link),
        ``causes`` (broken links by cause), ``newly_broken`` and ``repaired`` (links, in ``7_days`` and ``30_days``),
        ``groups`` (the largest: ``cause``, ``host``, ``links``, ``datasets``, ``since``), ``history`` (``day``,
        ``links``, ``broken``, of public datasets) and ``counted_at`` (ISO 8601 with an offset; null when the numbers
        are of this moment)
    :rtype: dictionary
    :raises NotFound: if there is no such organization
    """
    tk.check_access("archiver_summary", context, data_dict)
    data = _validated(report_schema.summary(), data_dict, context)
    who = _reader(context)
    name, include = data.get("organization") or "", bool(data.get("include_sub_organizations"))
    ids = organizations.ids(name, include) if name else None
    source = counts.source(who)
    known = counts.summary(source, ids)
    of_organization = LinkFilter(organization=name, include_sub_organizations=include)
    found = groups.largest(of_organization, who) if name else groups.of_portal(source.groups, who)
    changes = counts.changes(who, ids)
    return {
        "links": known.links,
        "datasets": known.datasets,
        "causes": known.causes,
        "newly_broken": {"7_days": changes.broken_7, "30_days": changes.broken_30},
        "repaired": {"7_days": changes.repaired_7, "30_days": changes.repaired_30},
        "groups": [
            {
                "cause": group.cause,
                "host": group.host,
                "links": group.links,
                "datasets": group.datasets,
                "since": group.since.isoformat() if group.since else None,
            }
            for group in found
        ],
        "history": [
            {"day": day.day.isoformat(), "links": day.links, "broken": day.broken} for day in counts.history(365, ids)
        ],
        "counted_at": known.counted_at.isoformat() if known.counted_at else None,
    }


def archiver_redirect_apply(context: Any, data_dict: Dict) -> Dict:
    """Save the address that a link's permanent redirects lead to, as the resource's URL.

    Callers need the right to edit the datasets. A redirect must have been seen in three checks in a row. Harvested
    datasets are left as they are: the next harvest would undo it.

    :param ids: ids of resources, at most 200
    :type ids: list of strings
    :param dry_run: only say what would be done (optional, default: false). A check in between may find another address
        than the dry run said
    :type dry_run: boolean

    :returns: ``moves`` (``resource_id``, ``old_url``, ``new_url`` and ``obstacle``: a sentence where it cannot be
        done, else empty), ``edited`` (how many were saved), ``failures`` (sentences), ``left`` (how many the time was
        too short for: call it again) and ``action_id`` (null where nothing was saved)
    :rtype: dictionary
    :raises NotAuthorized: if the caller may edit nothing
    """
    tk.check_access("archiver_redirect_apply", context, data_dict)
    data = _validated(report_schema.redirect_apply(), data_dict, context)
    who = _reader(context)
    selection = link_actions.Selection(LinkFilter(), tuple(data["ids"]))
    moves = [
        {
            "resource_id": move.resource_id,
            "old_url": urls.redact(move.old_url),
            "new_url": urls.redact(move.new_url),
            "obstacle": move.obstacle,
        }
        for move in link_actions.moves(who, selection)
    ]
    if data.get("dry_run"):
        return {"moves": moves, "edited": 0, "failures": [], "left": 0, "action_id": None}
    applied = link_actions.take_over(who, selection)
    return {
        "moves": moves,
        "edited": applied.edited,
        "failures": [f"{name}: {sentence}" for name, sentence in applied.failures],
        "left": applied.left,
        "action_id": applied.action_id,
    }


def archiver_snooze(context: Any, data_dict: Dict) -> Dict:
    """Leave links alone until a day: they are shown as such, and not counted as broken.

    Callers need the right to edit the datasets.

    :param ids: ids of resources, at most 200
    :type ids: list of strings
    :param until: the first day on which they count again, like ``2026-10-31``, in UTC, at most a year away; empty to
        count them again now
    :type until: string
    :param reason: why (needed unless ``until`` is empty)
    :type reason: string

    :returns: ``links``, how many of them the caller may edit and were changed
    :rtype: dictionary
    :raises NotAuthorized: if the caller may edit nothing
    :raises ValidationError: for a day that is past or too far away, or without a reason
    """
    tk.check_access("archiver_snooze", context, data_dict)
    data = _validated(report_schema.snooze(), data_dict, context)
    who = _reader(context)
    selection = link_actions.Selection(LinkFilter(), tuple(data["ids"]))
    if not data.get("until"):
        return {"links": link_actions.wake(who, selection)}
    try:
        until = day(data["until"])
    except ValueError as e:
        raise tk.ValidationError({"until": [tk._("until is a day like 2026-10-31.")]}) from e
    return {"links": link_actions.snooze(who, selection, until, data.get("reason") or "")}


def _reader(context: Any) -> reader.Reader:
    if not context.get("ignore_auth"):
        return reader.of_context(context)
    user = context.get("auth_user_obj") or model.User.get(context.get("user") or "")
    if user is None:
        user = model.User.get(tk.get_action("get_site_user")({"ignore_auth": True}, {})["name"])
    return reader.Reader(user.id, is_sysadmin=True, user=user)


def _validated(schema: Dict, data_dict: Dict, context: Any) -> Dict:
    data, errors = tk.navl_validate(data_dict, schema, context)
    if errors:
        raise tk.ValidationError(errors)
    return dict(data)


def _understood(work: Callable[[], Dict]) -> Dict:
    try:
        return work()
    except BadFilter as e:
        raise tk.ValidationError({e.parameter: [str(e)]}) from e
