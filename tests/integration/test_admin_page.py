"""The page on which a sysadmin sees the queues, and pauses archiving."""

from __future__ import annotations

from typing import Any

import pytest
from ckan import model
from ckan.tests import factories

from ckanext.archiver.queue import pauses

pytestmark = pytest.mark.usefixtures("clean_site")

PATH = "/ckan-admin/archiver"


@pytest.fixture
def boss(clean_site: None) -> dict[str, str]:
    """Headers of a sysadmin."""
    return {"Authorization": factories.SysadminWithToken(name="boss")["token"]}


def test_it_shows_what_status_prints(app: Any, boss: dict[str, str]) -> None:
    page = app.get(PATH, headers=boss).body
    assert "NO WORKER reads queue bulk" in page
    assert "ckan archiver worker --queue priority" in page
    assert "none checked yet" in page
    assert 'href="/ckan-admin/archiver"' in app.get("/ckan-admin/", headers=boss).body, "a tab leads to it"


def test_archiving_is_paused_and_goes_on(app: Any, boss: dict[str, str]) -> None:
    page = app.post(PATH, data={"do": "pause"}, headers=boss).body
    (pause,) = pauses.current()
    assert (pause.queue, pause.host, pause.paused_by) == ("", "", "boss")
    assert "Archiving is paused on all machines." in page
    assert "Resume archiving" in page
    assert "Everything is paused by boss" in page
    model.Session.rollback()
    page = app.post(PATH, data={"do": "resume"}, headers=boss).body
    assert pauses.current() == []
    assert "Pause archiving" in page
    assert app.post(PATH, data={"do": "stop"}, headers=boss, status=400).status_code == 400


@pytest.mark.parametrize("method", ["get", "post"])
def test_it_is_for_sysadmins(app: Any, method: str) -> None:
    user = {"Authorization": factories.UserWithToken()["token"]}
    for headers in ({}, user):
        answer = getattr(app, method)(PATH, data={"do": "pause"}, headers=headers)
        assert answer.status_code == 403
        assert "Only sysadmins may see" in answer.body
    assert pauses.current() == []
