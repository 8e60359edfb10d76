"""Which datasets a reader of the report may see: those that package_search would show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ckan.plugins as p
import ckan.plugins.toolkit as tk
from ckan import model
from ckan.lib.plugins import get_permission_labels
from flask import g, has_request_context

IS_PUBLIC = "p.state = 'active' AND NOT p.private AND p.type <> 'harvest'"
"""SQL over ``p`` (package): datasets that everybody may see. A "harvest" dataset describes a harvest source."""

_IS_THERE = "p.state IN ('active', 'draft') AND p.type <> 'harvest'"


@dataclass(frozen=True)
class Reader:
    """A reader of the report, as the permission labels of CKAN's index describe them.

    :ivar user_id: None for a reader who is not logged in
    :ivar user: the user, where the reader is one
    """

    user_id: str | None = None
    is_sysadmin: bool = False
    organizations: tuple[str, ...] = ()
    collaborations: tuple[str, ...] = ()
    user: model.User | None = field(default=None, compare=False, repr=False)

    @property
    def sees_only_public(self) -> bool:
        """Whether there is no dataset that this reader sees and others do not."""
        return self.user_id is None

    def condition(self) -> str:
        """SQL over ``p`` that is true for the datasets this reader may see."""
        if self.is_sysadmin:
            return _IS_THERE
        return IS_PUBLIC if self.sees_only_public else f"({IS_PUBLIC} OR ({self.private_condition()}))"

    def private_condition(self) -> str:
        """SQL over ``p`` that is true for the datasets that this reader may see and not everybody."""
        hidden = f"{_IS_THERE} AND (p.private OR p.state = 'draft')"
        if self.is_sysadmin:
            return hidden
        # DefaultPermissionLabels in words: "member-…", "creator-…" of a dataset without owner, "collaborator-…".
        return (
            f"{hidden} AND (p.owner_org = ANY(CAST(:reader_organizations AS text[]))"
            " OR (coalesce(p.owner_org, '') = '' AND p.creator_user_id = :reader_id)"
            " OR p.id = ANY(CAST(:reader_collaborations AS text[])))"
        )

    def params(self) -> dict[str, Any]:
        """The parameters of both conditions."""
        return {
            "reader_id": self.user_id,
            "reader_organizations": list(self.organizations),
            "reader_collaborations": list(self.collaborations),
        }


EVERYBODY = Reader()
"""A reader who is not logged in."""


def current() -> Reader:
    """The reader of the request that is being answered."""
    if not has_request_context():
        return EVERYBODY
    if "archiver_reader" not in g:
        g.archiver_reader = of_user(getattr(tk.g, "userobj", None))
    reader: Reader = g.archiver_reader
    return reader


def of_context(context: Mapping[str, Any]) -> Reader:
    """The reader that calls an action."""
    return of_user(context.get("auth_user_obj") or model.User.get(context.get("user") or ""))


def of_user(user: Any) -> Reader:
    """The reader that a user is; None, anonymous and deleted users see what is public."""
    # CKAN 2.11 has an empty text, 2.12 an object of its own, where no user is logged in.
    if not isinstance(user, model.User) or user.state != model.State.ACTIVE:
        return EVERYBODY
    if user.sysadmin:
        return Reader(user_id=user.id, is_sysadmin=True, user=user)
    labels = get_permission_labels().get_user_dataset_labels(user)
    return Reader(user.id, False, _after("member-", labels), _after("collaborator-", labels), user)


def _after(prefix: str, labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(label[len(prefix) :] for label in labels if label.startswith(prefix))


def has_labels_of_its_own() -> bool:
    """Whether an extension decides with labels of its own who sees which dataset."""
    return any(True for _ in p.PluginImplementations(p.IPermissionLabels))


def visible(who: Reader, package_ids: Iterable[str]) -> set[str]:
    """Those of some datasets that the labels of an extension let a reader see."""
    if who.is_sysadmin:
        return set(package_ids)
    plugin = get_permission_labels()
    mine = set(plugin.get_user_dataset_labels(who.user))
    packages = model.Session.query(model.Package).filter(model.Package.id.in_(list(package_ids)))
    return {package.id for package in packages if mine.intersection(plugin.get_dataset_labels(package))}


def editable_datasets(who: Reader) -> list[str]:
    """Ids of the datasets that a reader may edit as a collaborator, where the portal has collaborators."""
    if who.user is None or not tk.asbool(tk.config.get("ckan.auth.allow_dataset_collaborators")):
        return []
    member = model.PackageMember
    found = model.Session.query(member.package_id).filter(
        member.user_id == who.user.id, member.capacity.in_(("editor", "admin"))
    )
    return [row.package_id for row in found]


def editable_organizations(who: Reader) -> list[str]:
    """Ids of the organizations whose datasets a reader may edit, by membership there or above."""
    if who.user is None:
        return []
    known = g.setdefault("archiver_editable", {}) if has_request_context() else {}
    if who.user.id in known:
        return list(known[who.user.id])
    found = tk.get_action("organization_list_for_user")({"user": who.user.name}, {"permission": "update_dataset"})
    known[who.user.id] = [organization["id"] for organization in found]
    return list(known[who.user.id])
