"""The pages from which people act on links: each asks first, does it, and says what it did.

All of them work without JavaScript: a button posts the selection, a page asks, and its button posts again.
"""

from __future__ import annotations

import datetime
from typing import Any

import ckan.plugins.toolkit as tk
from flask import Response
from markupsafe import Markup

from ckanext.archiver import clock, link_actions
from ckanext.archiver.link_actions import Selection
from ckanext.archiver.queue import pauses
from ckanext.archiver.report import reader, words
from ckanext.archiver.report.filters import BadFilter, LinkFilter, day, parse
from ckanext.archiver.report_pages import selected
from ckanext.archiver.report_pages.pages import PAUSES, archiver_report, log_in
from ckanext.archiver.storable import is_storable

TICKED = 500
"""Links that one form may tick."""


def _selection() -> tuple[Selection, LinkFilter]:
    """What the form selects, and the filter of the list it came from.

    :raises BadFilter: for what no form of ours sends
    """
    wanted = parse(dict(tk.request.args.items()))
    form = tk.request.form
    if form.get("scope") == "filter":
        return Selection(wanted), wanted
    ids = form.getlist("resource_id")
    if len(ids) > TICKED or any(len(id_) > 100 or not is_storable(id_) for id_ in ids):
        raise BadFilter("resource_id", tk._("At most {count} links can be ticked.").format(count=TICKED))
    return Selection(wanted, tuple(ids)), wanted


@archiver_report.route("/archiver/links", methods=["POST"], endpoint="act")
def act() -> Response | str:
    """Ask, or do what was confirmed."""
    who = reader.current()
    if who.user is None:
        return tk.abort(403, tk._("Log in to act on links."))
    try:
        selection, wanted = _selection()
        back = tk.url_for("archiver_report.link_list", **wanted.parameters())
        if _is_from_overview():
            # A group shows there how far its checks are.
            back = tk.url_for("archiver_report.broken_links") + "#archiver-groups"
        if selection.resource_ids == ():
            return _not_done(back, tk._("Tick at least one link first."))
        return _act(who, selection, back)
    except BadFilter as e:
        return tk.abort(400, str(e))
    except tk.ObjectNotFound:
        return tk.abort(404, tk._("There is no such organization."))
    except tk.NotAuthorized as e:
        return tk.abort(403, str(e))


def _shown() -> dict[str, str]:
    """``{resource id: what was shown of it}``: see ``Move.digest``."""
    return dict(word.rpartition(":")[::2] for word in tk.request.form.getlist("shown"))


def _is_from_overview() -> bool:
    return bool(tk.request.form.get("from") == "overview")


def _act(who: reader.Reader, selection: Selection, back: str) -> Response | str:
    try:
        return _ask_or_do(who, selection, back)
    except tk.ValidationError as e:
        return _not_done(back, "; ".join(sentence for sentences in e.error_dict.values() for sentence in sentences))


def _ask_or_do(who: reader.Reader, selection: Selection, back: str) -> Response | str:
    what, is_confirmed = tk.request.form.get("do"), tk.request.form.get("confirmed") == "1"
    simple = {"check": _check, "wake": _wake, "snooze": _snooze, "redirect": _take_over}
    if what in simple:
        return simple[what](who, selection, back) if is_confirmed else _ask(who, selection, back, what)
    if what == "replace":
        return _replace(who, selection, back, is_confirmed=is_confirmed)
    choices = "check, snooze, wake, redirect, replace"
    return tk.abort(400, tk._("{name} must be one of {choices}.").format(name="do", choices=choices))


def _not_done(back: str, text: str) -> Response:
    tk.h.flash_notice(_said(text), allow_html=True)
    response: Response = tk.redirect_to(back)
    return response


def _done(back: str, text: str) -> Response:
    """Go back and say what was done, with the way to its record."""
    where = Markup('<a href="{}">{}</a>').format(tk.url_for("archiver_report.history"), tk._("What was done"))
    tk.h.flash_success(_said(Markup("{} {}").format(text, where)), allow_html=True)
    response: Response = tk.redirect_to(back)
    return response


def _said(text: str) -> Markup:
    """A sentence on a page of CKAN's, with its own language and direction."""
    return Markup("<span{}>{}</span>").format(tk.h.archiver_text_attributes(), text)


def _links(count: int) -> str:
    return str(tk.ungettext("{count} link", "{count} links", count).format(count=tk.h.localised_number(count)))


# -- asking -------------------------------------------------------------------------------------------------


def _ask(
    who: reader.Reader, selection: Selection, back: str, what: str, errors: dict[str, list[str]] | None = None
) -> str:
    moves = link_actions.moves(who, selection) if what == "redirect" else []
    if what == "redirect":
        count = sum(not move.obstacle for move in moves)
    else:
        count = selection.count(who, only_snoozed=what == "wake")
    title, explanation, button = _words(what, count, is_shown=bool(moves))
    paused = pauses.current(PAUSES) if what == "check" and count else []
    if any(not pause.host for pause in paused):
        # They do not begin at once.
        explanation = ""
    values = {name: tk.request.form.get(name, "") for name in ("until", "reason")}
    tomorrow = clock.utc().date() + datetime.timedelta(days=1)
    if what == "snooze" and not any(values.values()):
        values |= selected.left_alone(who, selection)
    values["until"] = values["until"] or (tomorrow + datetime.timedelta(days=29)).isoformat()
    return _question(
        what,
        (title, explanation, button),
        tk.url_for("archiver_report.act", **selection.wanted.parameters()),
        back,
        moves=moves,
        named=selected.names(who, selection, only_snoozed=what == "wake") if count and not moves else [],
        count=count,
        paused=[words.paused(pause.as_dict()) for pause in paused],
        resource_ids=selection.resource_ids,
        values=values,
        errors=errors or {},
        tomorrow=tomorrow.isoformat(),
        can_do=count > 0,
    )


def _question(what: str, words: tuple[str, str, str], action: str, back: str, **more: Any) -> str:
    """The page that asks.

    :param words: title, explanation and button
    :param action: URL that the button posts to
    :param back: URL of the page before
    :param more: ``moves``, ``named`` (of the ``count`` links, without moves), ``resource_ids``, ``values``, ``errors``,
        ``tomorrow`` and ``can_do``, where there are any
    """
    title, explanation, button = words
    question = {"what": what, "title": title, "explanation": explanation, "button": button, "action": action}
    without = {"moves": [], "resource_ids": (), "values": {}, "errors": {}, "tomorrow": "", "can_do": True}
    without |= {"after": "", "next_count": 0, "named": [], "count": 0, "paused": []}
    came = {"back": back, "from_overview": _is_from_overview()}
    html: str = tk.render("archiver/report_confirm.html", {**question, **came, **without, **more})
    return html


def _words(what: str, count: int, *, is_shown: bool) -> tuple[str, str, str]:
    """Title, explanation and button of a question.

    :param count: links that it would change
    :param is_shown: whether the page shows links that cannot be changed, with the reason beside each
    """
    amount = _links(count)
    if not count:
        nothing = {
            "redirect": tk._("No new address is known for these links."),
            "wake": tk._("None of the links that you may edit is left alone."),
        }.get(what, tk._("You may edit none of the selected links."))
        if is_shown:
            nothing = tk._("None of these links can get its new address yet. The reason is beside each.")
        return tk._("Nothing to do"), nothing, ""
    if what == "check":
        when = tk.ungettext("The check begins at once.", "The checks begin at once.", count)
        if count > link_actions.URGENT:
            when = tk._("They are many, so they wait for their turn, server by server.")
        return tk._("Check {links} again?").format(links=amount), when, tk._("Check again")
    if what == "wake":
        explanation = tk.ungettext(
            "It is shown and counted in the state that the last check found.",
            "They are shown and counted in the state that the last check found.",
            count,
        )
        return tk._("Stop leaving {links} alone?").format(links=amount), explanation, tk._("Stop leaving alone")
    if what == "snooze":
        explanation = tk.ungettext(
            "Until the day that you choose, at most a year from now, this link is not counted as broken. After it "
            "the link is counted again.",
            "Until the day that you choose, at most a year from now, these links are not counted as broken. After it "
            "they are counted again.",
            count,
        )
        return tk._("Leave {links} alone until a date?").format(links=amount), explanation, tk._("Leave alone")
    explanation = tk._("The ticked links get the address that the server says they have moved to permanently.")
    explanation = f"{explanation} {_undo_words()}"
    if count >= link_actions.MAX_EDITS:
        rest = tk._("{count} links at most are changed at a time. For more, do this again afterwards.")
        explanation = f"{explanation} {rest.format(count=link_actions.MAX_EDITS)}"
    return tk._("Use the new address of {links}?").format(links=amount), explanation, tk._("Use the new address")


def _undo_words() -> str:
    text = tk._(
        "This can be undone for {days} days: the links get their addresses back. A cached copy is replaced by the file "
        "at the new address, and does not come back."
    )
    return str(text.format(days=link_actions.UNDO_DAYS))


# -- doing --------------------------------------------------------------------------------------------------


def _check(who: reader.Reader, selection: Selection, back: str) -> Response:
    count = link_actions.check_again(who, selection)
    return _done(back, tk._("{links} will be checked again.").format(links=_links(count)))


def _wake(who: reader.Reader, selection: Selection, back: str) -> Response:
    count = link_actions.wake(who, selection)
    return _done(back, tk._("{links} no longer left alone.").format(links=_links(count)))


def _snooze(who: reader.Reader, selection: Selection, back: str) -> Response | str:
    form = tk.request.form
    try:
        until = day(form.get("until", ""))
    except ValueError:
        return _ask(who, selection, back, "snooze", {"until": [tk._("until is a day like 2026-10-31.")]})
    try:
        count = link_actions.snooze(who, selection, until, form.get("reason", ""))
    except tk.ValidationError as e:
        return _ask(who, selection, back, "snooze", e.error_dict)
    return _done(
        back,
        tk._("{links} will be left alone until {date}.").format(links=_links(count), date=words.day(until)),
    )


def _take_over(who: reader.Reader, selection: Selection, back: str) -> Response:
    # Never the whole filter: what was ticked is what was shown.
    if selection.resource_ids is None:
        return _not_done(back, tk._("Tick at least one link first."))
    return _report(link_actions.take_over(who, selection, _shown()), back)


def _replace(who: reader.Reader, selection: Selection, back: str, *, is_confirmed: bool) -> Response | str:
    """Ask for the beginnings; show each new address with what a check of it found; save those that were ticked."""
    old, new = (tk.request.form.get(name, "").strip() for name in ("old_prefix", "new_prefix"))
    if not old and not new:
        common = link_actions.common_beginning(who, selection)
        named = {"named": selected.names(who, selection), "count": selection.count(who)}
        return _ask_replace(selection, back, [], {}, common=common, named=named)
    try:
        if is_confirmed and selection.resource_ids is not None:
            return _report(link_actions.replace_beginning(who, selection, old, new, _shown()), back)
        found = link_actions.replacements(who, selection, old, new, tk.request.form.get("after", ""))
    except tk.ValidationError as e:
        return _ask_replace(selection, back, [], e.error_dict)
    errors = {} if found.moves else {"old_prefix": [tk._("None of the selected links begins like this.")]}
    return _ask_replace(selection, back, found.moves, errors, after=found.after)


def _ask_replace(
    selection: Selection,
    back: str,
    moves: list[link_actions.Move],
    errors: dict[str, list[str]],
    *,
    common: str = "",
    after: str = "",
    named: dict[str, Any] | None = None,
) -> str:
    explanation = tk._(
        "Replaces the beginning of the selected links. Each new address is checked first, {count} at a time; "
        "only those that work can be ticked."
    ).format(count=link_actions.MAX_CHECKED)
    explanation = f"{explanation} {_undo_words()}"
    form = tk.request.form
    return _question(
        "replace",
        (tk._("The server has moved"), explanation, tk._("Replace")),
        tk.url_for("archiver_report.act", **selection.wanted.parameters()),
        back,
        moves=moves,
        resource_ids=selection.resource_ids,
        values={"old_prefix": common or form.get("old_prefix", ""), "new_prefix": form.get("new_prefix", "")},
        errors=errors,
        **(named or {}),
        can_do=any(not move.obstacle for move in moves),
        after=after,
        next_count=link_actions.MAX_CHECKED,
    )


def _report(applied: link_actions.Applied, back: str, *, is_undone: bool = False) -> Response:
    for name, sentence in applied.failures[:10]:
        tk.h.flash_error(tk._("{link}: {reason}").format(link=name, reason=sentence))
    if applied.left:
        left = tk._("There was not enough time for {links}. Repeat the action for them.")
        tk.h.flash_notice(left.format(links=_links(applied.left)))
    if is_undone:
        text = tk.ungettext(
            "{count} link has its previous address again.",
            "{count} links have their previous addresses again.",
            applied.edited,
        )
        return _done(back, text.format(count=tk.h.localised_number(applied.edited)))
    return _done(back, tk._("{links} changed.").format(links=_links(applied.edited)))


# -- the record ---------------------------------------------------------------------------------------------


def _kinds() -> dict[str, str]:
    return {
        "check": tk._("Checked again"),
        "snooze": tk._("Left alone until a date"),
        "wake": tk._("No longer left alone"),
        "redirect": tk._("Used the new address"),
        "replace": tk._("Entered the new server"),
        "undo": tk._("Undone"),
    }


@archiver_report.route("/archiver/links/history", endpoint="history")
def history() -> Response | str:
    """What was done: everything for sysadmins, for others what they did themselves."""
    who = reader.current()
    if who.user is None:
        return log_in(tk._("Log in to see what was done to links."), tk.url_for("archiver_report.history"))
    before = tk.request.args.get("before") or None
    if before is not None and not (before.isdecimal() and len(before) < 19):
        return tk.abort(400, tk._("before is the number of an action."))
    size = 50
    rows = link_actions.history(who, int(before) if before else None, size + 1)
    undone = selected.undone([row["id"] for row in rows])
    actions: list[dict[str, Any]] = [
        {**row, "time": _iso(row["at"]), "note": _note(row), "undone": undone.get(row["id"], 0)} for row in rows[:size]
    ]
    html: str = tk.render(
        "archiver/report_history.html",
        {"actions": actions, "kinds": _kinds(), "next_before": actions[-1]["id"] if len(rows) > size else None},
    )
    return html


def _note(action: dict[str, Any]) -> str:
    """The note of an action in the reader's language: that of a snooze begins with a day."""
    if action["kind"] != "snooze":
        return str(action["note"])
    until, _, reason = action["note"].partition(": ")
    return str(tk._("Until {date}: {reason}").format(date=words.day(until), reason=reason))


def _iso(moment: datetime.datetime) -> str:
    naive = clock.naive(moment)
    assert naive is not None  # noqa: S101 - the column is never empty
    return naive.isoformat()


@archiver_report.route("/archiver/links/history/<int:action_id>/undo", methods=["POST"], endpoint="undo")
def undo(action_id: int) -> Response | str:
    """Ask, or give the links of an action back the URLs they had."""
    who = reader.current()
    if who.user is None:
        return tk.abort(403, tk._("Log in to act on links."))
    back = tk.url_for("archiver_report.history")
    try:
        if tk.request.form.get("confirmed") != "1":
            return _ask_undo(action_id, link_actions.undo_moves(who, action_id), back)
        return _report(link_actions.undo(who, action_id), back, is_undone=True)
    except tk.ObjectNotFound as e:
        return tk.abort(404, str(e))
    except tk.NotAuthorized as e:
        return tk.abort(403, str(e))


def _ask_undo(action_id: int, moves: list[link_actions.Move], back: str) -> str:
    explanation = tk._("The links get back the addresses they had, where they were not edited since.")
    words = (tk._("Undo this?"), explanation, tk._("Undo"))
    return _question(
        "undo",
        words,
        tk.url_for("archiver_report.undo", action_id=action_id),
        back,
        moves=moves,
        can_do=any(not move.obstacle for move in moves),
    )
