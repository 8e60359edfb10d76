"""A portal with a link in every state."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from ckan import model
from ckan.lib import search
from ckan.tests import factories

from ckanext.archiver import clock, config
from ckanext.archiver.model import Archival, ArchivalCheck, ArchiverRequest

DAY = datetime.timedelta(days=1)

HOSTILE = "<script>window.archiverHacked = 1</script>"


def make() -> dict[str, str]:
    """Fill an empty site.

    :returns: path of each page by its state: "ok", "failing", "broken", "not-sure", "never", "waiting", …, and
        "dataset", "report", "search", "report-organization"
    """
    transport = factories.Organization(name="transport", title="Department for Transport")
    leeds = factories.Organization(name="leeds", title="Leeds City Council")
    factories.Organization(name="empty", title="Office of Nothing At All")
    dataset = factories.Dataset(
        name="bus-stops",
        title="Bus stops and timetables",
        notes="All bus stops, and when the buses leave from them.",
        owner_org=transport["id"],
    )
    states = {
        "ok": _ok,
        "failing": _failing,
        "broken": _broken,
        "not-sure": _not_sure,
        "never": None,
        "waiting": None,
        "moved": _moved,
        "old-row": _old_row,
        "hostile": _hostile,
        "too-large": _too_large,
        "long": _long,
    }
    names = {
        "ok": "Stops 2026",
        "failing": "Stops 2025",
        "broken": "Stops 2024",
        "not-sure": "Timetable",
        "never": "Map",
        "waiting": "Stations",
        "moved": "Routes",
        "old-row": "Fares",
        "hostile": "Hostile",
        "too-large": "Timetables since 1900",
        "long": "بيانات الحافلات " + "and a name that goes on " * 9,
    }
    pages = {}
    for state, fill in states.items():
        resource = factories.Resource(
            package_id=dataset["id"],
            name=names[state],
            format="CSV",
            url=f"https://transport.example.org/files/a-rather-long-folder-name/{state}.csv",
            description="" if state != "ok" else "One row per stop.",
        )
        # What the plugin put when the resource was made is no part of the picture.
        model.Session.query(ArchiverRequest).filter_by(resource_id=resource["id"]).delete()
        if fill is not None:
            fill(resource)
        if state == "waiting":
            model.Session.add(
                ArchiverRequest(
                    resource_id=resource["id"],
                    package_id=dataset["id"],
                    queue="priority",
                    host="transport.example.org",
                    reason="changed",
                )
            )
        model.Session.commit()
        pages[state] = f"/dataset/bus-stops/resource/{resource['id']}"
    _more_datasets(transport, leeds)
    for name in ("bus-stops", "potholes", "parks"):
        search.rebuild(model.Package.get(name).id)
    return pages | {
        "dataset": "/dataset/bus-stops",
        "fine-dataset": "/dataset/parks",
        "search": "/dataset/",
        "search-broken": "/dataset/?archiver_status=broken",
        "report": "/report/broken-links",
        "report-organization": "/report/broken-links/transport",
        "report-filtered": "/archiver/links?verdict=broken&q=potholes&sort=newest",
        "organization": "/organization/transport",
    }


def _more_datasets(transport: dict[str, Any], leeds: dict[str, Any]) -> None:
    for name, title, owner, fill in (
        ("potholes", "Potholes", transport, _broken),
        ("parks", "Parks and gardens", leeds, _ok),
    ):
        dataset = factories.Dataset(name=name, title=title, owner_org=owner["id"])
        for number in (1, 2):
            resource = factories.Resource(
                package_id=dataset["id"],
                name=f"{title} {number}",
                format="JSON",
                url=f"https://files.example.org/{name}/{number}.json",
            )
            model.Session.query(ArchiverRequest).filter_by(resource_id=resource["id"]).delete()
            fill(resource)
    model.Session.commit()


def _archival(resource: dict[str, Any], verdicts: str, **columns: Any) -> Archival:
    """An archival with a history: one letter per daily check, oldest first (o, f, b or n)."""
    now = clock.naive_utc().replace(microsecond=0)
    words = {"o": "ok", "f": "failing", "b": "broken", "n": "not-sure"}
    for days, letter in enumerate(reversed(verdicts)):
        moment = now - days * DAY - datetime.timedelta(hours=2)
        model.Session.add(
            ArchivalCheck(resource_id=resource["id"], checked_at=moment, verdict=words[letter], cause="ok", detail="ok")
        )
    archival = Archival(
        package_id=resource["package_id"],
        resource_id=resource["id"],
        source_url=resource["url"],
        checked_at=now - datetime.timedelta(hours=2),
        updated=now - datetime.timedelta(hours=2),
        next_check_at=now + 0.9 * DAY,
        **columns,
    )
    model.Session.add(archival)
    return archival


def _copy(archival: Archival, text: str = "stop,name\n1,Station\n") -> None:
    folder = Path(str(config.archive_dir())) / archival.resource_id[:2] / archival.resource_id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "stops.csv"
    path.write_text(text, encoding="utf-8")
    archival.cache_filepath = str(path)
    archival.size = 1_468_006
    archival.mimetype = "text/csv"
    archival.cached_at = clock.naive_utc() - 4 * DAY


def _ok(resource: dict[str, Any]) -> None:
    archival = _archival(
        resource,
        "o" * 12 + "f" + "o" * 17,
        verdict="ok",
        cause="ok",
        detail="ok",
        facts={},
        reason="The file was downloaded.",
        status_id=0,
        is_broken=False,
        failure_count=0,
        last_success=clock.naive_utc(),
        certificate_expires=clock.naive_utc() + 9 * DAY,
    )
    _copy(archival)


def _moved(resource: dict[str, Any]) -> None:
    archival = _archival(
        resource,
        "o" * 5,
        verdict="ok",
        cause="ok",
        detail="ok",
        facts={},
        reason="The file was downloaded.",
        status_id=0,
        is_broken=False,
        failure_count=0,
        last_success=clock.naive_utc(),
        url_redirected_to="https://data.example.org/v2/routes.csv",
        permanent_url="https://data.example.org/v2/routes.csv",
    )
    _copy(archival)


def _failing(resource: dict[str, Any]) -> None:
    archival = _archival(
        resource,
        "o" * 28 + "ff",
        verdict="failing",
        cause="unreachable",
        detail="first-byte-timeout",
        facts={"seconds": 30},
        reason="The server did not begin to answer within 30 seconds.",
        status_id=12,
        is_broken=None,
        failure_count=2,
        first_failure=clock.naive_utc() - DAY,
        failing_since=clock.naive_utc() - DAY,
        last_success=clock.naive_utc() - 2 * DAY,
    )
    _copy(archival)


def _broken(resource: dict[str, Any]) -> None:
    archival = _archival(
        resource,
        "o" * 23 + "b" * 7,
        verdict="broken",
        cause="gone",
        detail="http-gone",
        facts={"status": 404, "phrase": "Not Found"},
        http_status=404,
        reason="The server says the file is gone (404 Not Found).",
        status_id=12,
        is_broken=True,
        failure_count=7,
        first_failure=clock.naive_utc() - 7 * DAY,
        failing_since=clock.naive_utc() - 7 * DAY,
        broken_since=clock.naive_utc() - 7 * DAY,
        last_success=clock.naive_utc() - 8 * DAY,
    )
    _copy(archival)


def _not_sure(resource: dict[str, Any]) -> None:
    _archival(
        resource,
        "n" * 30,
        verdict="not-sure",
        cause="blocked",
        detail="http-blocked",
        facts={"status": 403, "phrase": "Forbidden"},
        not_sure_reason="blocked",
        status_id=21,
        reason="The server does not let the archiver see the file (403 Forbidden); people may get it.",
    )


def _too_large(resource: dict[str, Any]) -> None:
    _archival(
        resource,
        "o",
        verdict="ok",
        cause="too-large",
        detail="too-large-announced",
        facts={"size": 5_368_709_120, "limit": 50_000_000},
        reason="The file is too large.",
        status_id=22,
        is_broken=False,
        failure_count=0,
        last_success=clock.naive_utc(),
    )


def _long(resource: dict[str, Any]) -> None:
    """Words without an end, and words that are written from right to left."""
    _archival(
        resource,
        "ob",
        verdict="broken",
        cause="gone",
        detail="dns-not-found",
        facts={"host": "a-host." + "with-a-name-that-nobody-would-choose." * 5 + "example"},
        reason="No such host.",
        status_id=12,
        is_broken=True,
        failure_count=3,
        broken_since=clock.naive_utc(),
        url_redirected_to="https://example.org/" + "بيانات" * 200,
    )


def _old_row(resource: dict[str, Any]) -> None:
    """As release 2 wrote it."""
    now = clock.naive_utc()
    model.Session.add(
        Archival(
            package_id=resource["package_id"],
            resource_id=resource["id"],
            status_id=11,
            is_broken=True,
            reason="URL request failed",
            first_failure=now - 400 * DAY,
            failure_count=9,
            updated=now - 90 * DAY,
        )
    )


def _hostile(resource: dict[str, Any]) -> None:
    """Everything a remote server can choose is markup."""
    _archival(
        resource,
        "ob",
        verdict="broken",
        cause="gone",
        detail="http-gone",
        facts={"status": 404, "phrase": HOSTILE},
        reason=f"gone {HOSTILE}",
        status_id=12,
        is_broken=True,
        failure_count=1,
        url_redirected_to=f"javascript:alert(1)//{HOSTILE}",
        permanent_url=f"https://example.org/{HOSTILE}",
        mimetype="text/html",
        etag=HOSTILE,
        broken_since=clock.naive_utc(),
    )
