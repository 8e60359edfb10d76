"""Whose links a user may act on: those of the datasets that the user may edit (``package_update``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ckan.plugins as p
import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import authz, model
from flask import g, has_request_context

from ckanext.archiver.report import listing, reader

ASKED = 1_000
"""Datasets of one action for which the auth function of an extension is called."""

UNOWNED = "coalesce(p.owner_org, '') = ''"


def extension_decides() -> bool:
    """Whether an extension has an auth function ``package_update`` of its own: it is called for each dataset."""
    return any("package_update" in plugin.get_auth_functions() for plugin in p.PluginImplementations(p.IAuthFunctions))


def condition(who: reader.Reader) -> str:
    """SQL over ``p`` (package): the datasets that CKAN's own ``package_update`` lets the user edit; with ``params``."""
    if who.is_sysadmin:
        return "true"
    unowned = f" OR {UNOWNED}" if _may_edit_unowned(who) else ""
    return f"p.owner_org = ANY(CAST(:may_edit_of AS text[])) OR p.id = ANY(CAST(:may_edit AS text[])){unowned}"


def params(who: reader.Reader) -> dict[str, list[str]]:
    """The parameters of :func:`condition`."""
    if who.is_sysadmin:
        return {}
    return {"may_edit_of": reader.editable_organizations(who), "may_edit": reader.editable_datasets(who)}


def _may_edit_unowned(who: reader.Reader) -> bool:
    # As CKAN's package_update decides for a dataset without an organization.
    if who.user is None:
        return False
    needed = ("create_dataset_if_not_in_organization", "create_unowned_dataset")
    return all(map(authz.check_config_permission, needed)) or authz.has_user_permission_for_some_org(
        who.user.name, "create_dataset"
    )


def may_edit_anything(who: reader.Reader) -> bool:
    """Whether there is any dataset that the user may edit, or an organization whose datasets the user may edit."""
    if who.user is None or who.is_sysadmin:
        return who.is_sysadmin
    if extension_decides() or any(params(who).values()):
        return True
    exists = f"SELECT EXISTS (SELECT FROM package p WHERE {UNOWNED} AND {who.condition()})"  # noqa: S608
    return _may_edit_unowned(who) and bool(
        model.Session.connection().execute(sa.text(exists), who.params()).scalar_one()
    )


def must_edit(who: reader.Reader) -> None:
    """Refuse a user who may edit nothing.

    :raises NotAuthorized: for such a user
    """
    if who.user is None or not may_edit_anything(who):
        raise tk.NotAuthorized(tk._("There is no dataset that you may edit."))


def restrict(selected: listing.Query, who: reader.Reader) -> None:
    """Leave out the links of datasets that the user may not edit.

    :raises ValidationError: if an extension decides, and it would have to be asked for too many datasets
    """
    if who.is_sysadmin:
        return
    if not extension_decides():
        selected.conditions.append(condition(who))
        selected.params.update(params(who))
        return
    statement = sa.text(f"SELECT DISTINCT p.id {selected.sql()} LIMIT :asked")  # noqa: S608 - constants only
    execute = model.Session.connection().execute
    found = execute(statement, {**selected.params, "asked": ASKED + 1}).scalars().all()
    if len(found) > ASKED:
        sentence = tk._("An extension decides here who may edit a dataset. Select links of at most {count} datasets.")
        raise tk.ValidationError({"selection": [sentence.format(count=ASKED)]})
    selected.conditions.append("p.id = ANY(CAST(:may_edit AS text[]))")
    selected.params["may_edit"] = [id_ for id_ in found if _may_edit(who, id_)]


def editable(who: reader.Reader, rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Ids of those resources of some rows that the user may edit.

    :param rows: with ``resource_id``, ``package_id`` and ``owner_org``
    """
    rows = list(rows)
    if who.user is None or who.is_sysadmin:
        return {row["resource_id"] for row in rows if who.is_sysadmin}
    if extension_decides():
        asked = {id_: _may_edit(who, id_) for id_ in {row["package_id"] for row in rows}}
        return {row["resource_id"] for row in rows if asked[row["package_id"]]}
    mine = {id_ for ids in params(who).values() for id_ in ids}
    if _may_edit_unowned(who):
        mine.add("")
    return {row["resource_id"] for row in rows if (row["owner_org"] or "") in mine or row["package_id"] in mine}


def _may_edit(who: reader.Reader, package_id: str) -> bool:
    assert who.user is not None  # noqa: S101 - a reader who is no user may edit nothing
    # A page asks several times.
    known = g.setdefault("archiver_may_edit", {}) if has_request_context() else {}
    key = who.user.id, package_id
    if key not in known:
        context: Any = {"user": who.user.name, "auth_user_obj": who.user}
        try:
            tk.check_access("package_update", context, {"id": package_id})
            known[key] = True
        except (tk.NotAuthorized, tk.ObjectNotFound):
            known[key] = False
    return bool(known[key])
