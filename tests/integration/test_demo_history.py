"""The sample history of the demo, written into a real database."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories

from _demo.history import DAYS, Past, _add
from ckanext.archiver import clock, tasks
from ckanext.archiver.model import Archival, ArchivalCheck
from origin_server import Origin

pytestmark = pytest.mark.usefixtures("clean_site")


def add(pasts: dict[str, Past]) -> int:
    model.Session.commit()
    added = _add(tk.config["sqlalchemy.url"], [{"resource_id": id_, **asdict(past)} for id_, past in pasts.items()])
    model.Session.expire_all()
    return added


def checks(resource_id: str) -> list[str]:
    query = model.Session.query(ArchivalCheck.verdict).filter_by(resource_id=resource_id)
    return [row.verdict for row in query.order_by(ArchivalCheck.checked_at)]


def test_a_link_that_broke_after_it_was_archived_is_broken_for_days_and_its_copy_is_older(origin: Origin) -> None:
    resource = factories.Resource(url=origin.serve("/a.csv", b"a,b\n1,2\n"), format="CSV")
    tasks.update_resource(resource["id"])
    origin.serve("/a.csv", b"", status=410)
    tasks.update_resource(resource["id"])

    assert add({resource["id"]: Past(failing_for=12, bad_days=(40,))}) == 1
    verdicts = checks(resource["id"])
    assert verdicts[-13:] == ["broken"] * 13
    assert verdicts.count("failing") == 1
    assert len(verdicts) == DAYS + 1
    archival = Archival.get_for_resource(resource["id"])
    assert timedelta(days=11) < clock.naive_utc() - archival.broken_since < timedelta(days=13)
    assert archival.last_success < archival.broken_since
    assert abs(Path(archival.cache_filepath).stat().st_mtime - clock.aware(archival.cached_at).timestamp()) < 0.01


def test_a_link_that_works_has_worked_and_a_second_time_adds_nothing(origin: Origin) -> None:
    resource = factories.Resource(url=origin.serve("/a.csv", b"a,b\n1,2\n"), format="CSV")
    tasks.update_resource(resource["id"])
    assert add({resource["id"]: Past()}) == 1
    assert add({resource["id"]: Past()}) == 0
    assert checks(resource["id"]) == ["ok"] * (DAYS + 1)
    assert Archival.get_for_resource(resource["id"]).verdict == "ok"


@pytest.mark.parametrize(("failing_for", "worked"), [(0, True), (3, True), (DAYS, False)])
def test_a_link_last_worked_when_its_history_says_so(origin: Origin, failing_for: int, worked: bool) -> None:
    origin.serve("/a.csv", b"", status=500)
    resource = factories.Resource(url=origin.url("/a.csv"), format="CSV")
    tasks.update_resource(resource["id"])
    add({resource["id"]: Past(failing_for=failing_for)})
    last = Archival.get_for_resource(resource["id"]).last_success
    assert (last is not None) == ("ok" in checks(resource["id"])) == worked
