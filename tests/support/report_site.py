"""Portals for tests of the Broken Links report: organizations in a tree, datasets with links in given states."""

from __future__ import annotations

from typing import Any

import pytest
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import clock
from ckanext.archiver.model import Archival

Dict = dict[str, Any]


def dataset_with(verdicts: list[str], owner: Dict | None, **fields: Any) -> Dict:
    """A dataset with one resource per verdict ("" for one that was never checked)."""
    dataset = factories.Dataset(
        owner_org=owner["id"] if owner else None,
        resources=[{"url": f"http://example.org/{n}.csv", "name": f"File {n}"} for n in range(len(verdicts))],
        **fields,
    )
    for resource, verdict in zip(dataset["resources"], verdicts, strict=True):
        if verdict:
            archive(resource, verdict)
    model.Session.commit()
    return dataset


def archive(resource: Dict, verdict: str, **columns: Any) -> None:
    values = {
        "verdict": verdict,
        "is_broken": {"ok": False, "broken": True}.get(verdict),
        "status_id": 12 if verdict == "broken" else 0,
        "reason": "The server says the file is gone (404 Not Found).",
        "detail": "http-gone",
        "facts": {"status": 404, "phrase": "Not Found"},
        "failure_count": 3,
        "checked_at": clock.naive_utc(),
    } | columns
    model.Session.add(
        Archival(
            package_id=resource["package_id"],
            resource_id=resource["id"],
            source_url=resource["url"],
            **values,
        )
    )


def put_below(child: Dict, parent: Dict) -> None:
    helpers.call_action("member_create", id=child["id"], object=parent["id"], object_type="group", capacity="parent")


@pytest.fixture
def organizations() -> dict[str, Dict]:
    """A ministry, an agency below it with an office below that, and a council apart from them."""
    ministry = factories.Organization(name="ministry", title="Ministry")
    agency = factories.Organization(name="agency", title="Agency")
    office = factories.Organization(name="office", title="Office")
    council = factories.Organization(name="council", title="Council")
    put_below(agency, ministry)
    put_below(office, agency)
    return {"ministry": ministry, "agency": agency, "office": office, "council": council}
