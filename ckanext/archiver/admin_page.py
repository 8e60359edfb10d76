"""The page on which a sysadmin sees the queues and the workers, and stops and starts archiving."""

from __future__ import annotations

import ckan.plugins.toolkit as tk
from flask import Blueprint, Response

from ckanext.archiver import forged_forms, monitoring, tables
from ckanext.archiver.queue import pauses, sql

archiver_admin = Blueprint("archiver_admin", __name__)
archiver_admin.before_request(forged_forms.refuse)
archiver_admin.before_request(tables.refuse_without)


@archiver_admin.before_request
def _only_sysadmins() -> Response | None:
    try:
        tk.check_access("archiver_status_show", {"user": tk.g.user}, {})
    except tk.NotAuthorized:
        return tk.abort(403, tk._("Only sysadmins may see the state of the archiver."))
    return None


@archiver_admin.route("/ckan-admin/archiver", endpoint="status")
def status() -> str:
    """What an operator has to act on, and the lines of ``ckan archiver status``."""
    found = monitoring.collect()
    tk.request.environ["__no_cache__"] = True
    html: str = tk.render(
        "archiver/admin_status.html",
        {
            "alarms": list(monitoring.alarms(found)),
            "lines": list(monitoring.lines(found)),
            "is_paused": any(not pause["queue"] and not pause["host"] for pause in found["pauses"]),
        },
    )
    return html


@archiver_admin.route("/ckan-admin/archiver", methods=["POST"], endpoint="act")
def act() -> Response:
    """Pause everything, or end that pause; as ``ckan archiver pause`` and ``resume``."""
    what = tk.request.form.get("do")
    if what not in ("pause", "resume"):
        return tk.abort(400, tk._("{name} must be one of {choices}.").format(name="do", choices="pause, resume"))
    with sql.transaction():
        if what == "pause":
            pauses.pause("", [""], tk.g.user)
        else:
            pauses.resume("", [""])
    if what == "pause":
        tk.h.flash_success(tk._("Archiving is paused on all machines. Requests wait until you resume it."))
    else:
        tk.h.flash_success(tk._("Archiving has resumed."))
    response: Response = tk.redirect_to("archiver_admin.status")
    return response
