"""Which datasets a reader of the report may see: those that package_search would show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ckan.lib.plugins as lib_plugins
import ckan.plugins.toolkit as tk
from ckan import model
from flask import g, has_request_context

from ckanext.archiver.report import labels

IS_PUBLIC = "p.state = 'active' AND NOT p.private AND p.type <> 'harvest'"
"""SQL over ``p`` (package): datasets that everybody may see. A "harvest" dataset describes a harvest source."""

_IS_THERE = "p.state IN ('active', 'draft') AND p.type <> 'harvest'"


@dataclass(frozen=True)
class Reader:
    """A reader of the report, as the permission labels of CKAN's index describe them.

    :ivar user_id: None for a reader who is not logged in
    :ivar labelled: what the labels of an extension decide; None where CKAN's own do
    :ivar user: the user, where the reader is one
    """

    user_id: str | None = None
    is_sysadmin: bool = False
    organizations: tuple[str, ...] = ()
    collaborations: tuple[str, ...] = ()
    labelled: labels.Labelled | None = field(default=None, repr=False)
    user: model.User | None = field(default=None, compare=False, repr=False)

    @property
    def sees_only_public(self) -> bool:
        """Whether there is no dataset that this reader sees and others do not."""
        return self.user_id is None

    def condition(self) -> str:
        """SQL over ``p`` that is true for the datasets this reader may see."""
        if self.is_sysadmin:
            return _IS_THERE
        public = IS_PUBLIC if self.labelled is None else f"{IS_PUBLIC} AND NOT {_listed('reader_hidden')}"
        return public if self.sees_only_public else f"(({public}) OR ({self.private_condition()}))"

    def private_condition(self) -> str:
        """SQL over ``p`` that is true for the datasets that this reader may see and not everybody."""
        hidden = f"{_IS_THERE} AND (p.private OR p.state = 'draft')"
        if self.is_sysadmin:
            # A dataset that is not in the search index is in no list of labels.
            return hidden if self.labelled is None else f"({hidden}) OR ({_IS_THERE} AND {_listed('reader_hidden')})"
        if self.labelled is not None:
            return f"{_IS_THERE} AND {_listed('reader_shown')}"
        # DefaultPermissionLabels in words: "member-…", "creator-…" of a dataset without owner, "collaborator-…".
        return (
            f"{hidden} AND (p.owner_org = ANY(CAST(:reader_organizations AS text[]))"
            " OR (coalesce(p.owner_org, '') = '' AND p.creator_user_id = :reader_id)"
            " OR p.id = ANY(CAST(:reader_collaborations AS text[])))"
        )

    def params(self) -> dict[str, Any]:
        """The parameters of both conditions."""
        found: dict[str, Any] = {
            "reader_id": self.user_id,
            "reader_organizations": list(self.organizations),
            "reader_collaborations": list(self.collaborations),
        }
        if self.labelled is not None:
            found |= {"reader_hidden": list(self.labelled.hidden), "reader_shown": list(self.labelled.shown)}
        return found


def _listed(name: str) -> str:
    # Hashed once, unlike "= ANY" of a long array.
    return f"p.id IN (SELECT unnest(CAST(:{name} AS text[])))"


EVERYBODY = Reader()
"""A reader who is not logged in, where no extension has permission labels of its own."""


def everybody() -> Reader:
    """A reader who is not logged in."""
    return replace(EVERYBODY, labelled=labels.of_user(None))


def current() -> Reader:
    """The reader of the request that is being answered."""
    if not has_request_context():
        return everybody()
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
        return everybody()
    labelled = labels.of_user(user)
    if user.sysadmin:
        return Reader(user_id=user.id, is_sysadmin=True, labelled=labelled, user=user)
    known = lib_plugins.get_permission_labels().get_user_dataset_labels(user)
    return Reader(user.id, False, _after("member-", known), _after("collaborator-", known), labelled, user)


def _after(prefix: str, known: Iterable[str]) -> tuple[str, ...]:
    return tuple(label[len(prefix) :] for label in known if label.startswith(prefix))


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
