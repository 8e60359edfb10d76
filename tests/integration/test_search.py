"""What package_show, package_search and the index say; and that nothing of it is ever stored."""

from __future__ import annotations

import json
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
import sqlalchemy as sa
from ckan import model
from ckan.lib import search as index
from ckan.lib.search import common as search_common
from ckan.tests import factories

from ckanext.archiver import clock, compat, config, indexing, maintenance, search
from ckanext.archiver.model import Archival

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]


def archive(resource: Dict, verdict: str | None = "ok", **columns: Any) -> Archival:
    """Write a resource's archival."""
    is_broken = {"ok": False, "broken": True}.get(verdict or "")
    archival = Archival(
        **{
            "package_id": resource["package_id"],
            "resource_id": resource["id"],
            "source_url": resource["url"],
            "verdict": verdict,
            "is_broken": is_broken,
            "status_id": {"ok": 0, "broken": 12}.get(verdict or "", 21),
            "reason": "The link works.",
            "checked_at": clock.naive_utc(),
            **columns,
        }
    )
    model.Session.add(archival)
    model.Session.commit()
    return archival


def two_resources() -> Dict:
    return factories.Dataset(
        resources=[{"url": "http://example.org/a.csv"}, {"url": "http://example.org/b.csv"}], title="Rain"
    )


def show(dataset: Dict) -> Dict:
    return tk.get_action("package_show")({"ignore_auth": True}, {"id": dataset["id"]})


def stored(dataset: Dict) -> str:
    """Every column of a dataset and its resources that is in the database, as text."""
    rows = []
    for table, column in (("package", "id"), ("resource", "package_id")):
        statement = sa.text(f"SELECT to_jsonb(t)::text FROM {table} t WHERE {column} = :id")  # noqa: S608 - constants
        rows += model.Session.execute(statement, {"id": dataset["id"]}).scalars()
    return "\n".join(rows)


def refuse_keys(dataset: Dict) -> None:
    model.Session.rollback()
    assert search.KEY not in stored(dataset)


def statements_of(call: Any) -> list[str]:
    """Every SQL statement that a call runs."""
    seen = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    def note_savepoint(connection: Any, name: str) -> None:
        seen.append(f"SAVEPOINT {name}")

    sa.event.listen(model.meta.engine, "before_cursor_execute", note)
    sa.event.listen(model.meta.engine, "savepoint", note_savepoint)
    try:
        call()
    finally:
        sa.event.remove(model.meta.engine, "before_cursor_execute", note)
        sa.event.remove(model.meta.engine, "savepoint", note_savepoint)
    return seen


# -- package_show ------------------------------------------------------------------------------------------


def test_package_show_has_the_keys_of_resources_and_dataset() -> None:
    dataset = two_resources()
    archive(dataset["resources"][0], "ok", size=12)
    archive(dataset["resources"][1], "broken", reason="The server says the file is gone (404 Not Found).")

    shown = show(dataset)

    first, second = (resource["archiver"] for resource in shown["resources"])
    assert (first["status"], first["is_broken_printable"], first["size"]) == (
        "Archived successfully",
        "Downloaded OK",
        12,
    )
    assert second["is_broken_printable"] == "Broken"
    assert shown["archiver"] == {
        "status_id": 12,
        "status": "Download error",
        "reason": "The server says the file is gone (404 Not Found).",
        "is_broken": True,
        "verdict": "broken",
    }


@pytest.mark.parametrize("verdict", ["ok", "not-sure", "failing", "broken"])
def test_a_link_that_fails_has_an_alternative(ckan_config: Any, verdict: str) -> None:
    ckan_config["ckanext-archiver.web_archive_url"] = "https://archive.example/web/*/{url}"
    dataset = two_resources()
    first, second = dataset["resources"]
    archive(first, verdict, cache_filepath="/archive/a.csv")
    archive(second, verdict)

    found = [resource["archiver"].get("alternative_url") for resource in show(dataset)["resources"]]

    copy = f"{config.site_url()}/dataset/{dataset['id']}/resource/{first['id']}/cached"
    listing = "https://archive.example/web/*/http://example.org/b.csv"
    assert found == ([copy, listing] if verdict in ("failing", "broken") else [None, None])


def test_a_link_that_was_edited_has_no_alternative() -> None:
    dataset = two_resources()
    archive(dataset["resources"][0], "broken", cache_filepath="/archive/a.csv", source_url="http://example.org/old.csv")

    assert "alternative_url" not in show(dataset)["resources"][0]["archiver"]


def test_links_that_were_never_checked_have_no_keys() -> None:
    shown = show(two_resources())

    assert search.KEY not in shown
    assert not any(search.KEY in resource for resource in shown["resources"])


def test_the_activity_stream_stores_no_keys_of_ours() -> None:
    """It stores what it is shown with every edit, for ever."""
    dataset = two_resources()
    archive(dataset["resources"][0], "ok")
    index.rebuild(dataset["id"])  # the dict comes from there, with our keys in it

    kept = tk.get_action("package_show")({"for_view": False, "ignore_auth": True}, {"id": dataset["id"]})

    assert search.KEY not in kept
    assert not any(search.KEY in resource for resource in kept["resources"])


def test_stale_keys_of_the_index_are_not_shown() -> None:
    dataset = two_resources()
    archival = archive(dataset["resources"][0], "ok")
    index.rebuild(dataset["id"])
    archival.verdict, archival.is_broken = "broken", True
    model.Session.commit()

    assert show(dataset)["archiver"]["verdict"] == "broken"
    found = tk.get_action("package_search")({}, {"q": "Rain"})["results"][0]
    assert found["archiver"]["verdict"] == "broken"

    model.Session.delete(archival)
    model.Session.commit()

    assert "archiver" not in show(dataset)
    found = tk.get_action("package_search")({}, {"q": "Rain"})["results"][0]
    assert "archiver" not in found
    assert not any("archiver" in resource for resource in found["resources"])


# -- round trips -------------------------------------------------------------------------------------------


@pytest.fixture
def archived() -> Dict:
    dataset = two_resources()
    for resource in dataset["resources"]:
        archive(resource, "broken")
    return dataset


@pytest.fixture
def api() -> Any:
    user = factories.Sysadmin()

    def call(action: str, data: Dict) -> Any:
        return tk.get_action(action)({"user": user["name"]}, data)

    return call


def test_package_show_then_package_update_stores_nothing_of_ours(archived: Dict, api: Any) -> None:
    shown = api("package_show", {"id": archived["id"]})
    assert shown["archiver"]

    shown["title"] = shown["resources"][0]["name"] = "Snow"
    updated = api("package_update", shown)

    assert updated["title"] == updated["resources"][0]["name"] == "Snow"
    refuse_keys(archived)
    assert show(archived)["resources"][0]["archiver"]["verdict"] == "broken"


def test_the_same_over_http(archived: Dict, app: Any) -> None:
    token = factories.SysadminWithToken()["token"]
    headers = {"Authorization": token}
    shown = app.get(f"/api/3/action/package_show?id={archived['id']}", headers=headers).json["result"]
    assert shown["archiver"]

    shown["resources"][1]["name"] = "Snow"
    answer = app.post("/api/3/action/package_update", json=shown, headers=headers)

    assert answer.json["result"]["resources"][1]["name"] == "Snow"
    refuse_keys(archived)


@pytest.mark.skipif(not compat.update_compares(), reason="this CKAN saves whatever it is given")
def test_a_round_trip_without_a_change_saves_nothing(archived: Dict, api: Any) -> None:
    """CKAN 2.12 ends early when nothing differs; our keys must not count as a difference."""
    shown = api("package_show", {"id": archived["id"]})
    assert shown["archiver"]

    statements = statements_of(lambda: api("package_update", shown))

    assert statements, "the listener saw nothing"
    assert not [one for one in statements if one.startswith(("SAVEPOINT", "UPDATE", "INSERT"))]
    refuse_keys(archived)


@pytest.mark.parametrize("action", ["resource_update", "resource_patch"])
def test_resource_show_then_save_stores_nothing_of_ours(archived: Dict, api: Any, action: str) -> None:
    shown = api("resource_show", {"id": archived["resources"][0]["id"]})
    assert shown["archiver"]

    api(action, dict(shown, name="Snow"))

    refuse_keys(archived)


def test_a_copied_resource_or_dataset_has_no_keys_of_ours(archived: Dict, api: Any) -> None:
    resource = api("resource_show", {"id": archived["resources"][0]["id"]})
    del resource["id"]
    api("resource_create", resource)
    refuse_keys(archived)

    dataset = api("package_show", {"id": archived["id"]})
    resources = [
        {key: value for key, value in r.items() if key not in ("id", "package_id")} for r in dataset["resources"]
    ]
    copy = {"name": "copy", "title": "Copy", "resources": resources, "archiver": dataset["archiver"]}
    refuse_keys(api("package_create", copy))


def test_other_ways_to_save_store_nothing_of_ours(archived: Dict, api: Any) -> None:
    api("package_patch", {"id": archived["id"], "title": "Hail"})
    api("package_revise", {"match": {"id": archived["id"]}, "update": {"notes": "Round"}})
    order = [resource["id"] for resource in reversed(archived["resources"])]
    api("package_resource_reorder", {"id": archived["id"], "order": order})

    refuse_keys(archived)
    assert show(archived)["title"] == "Hail"


def test_what_an_earlier_release_stored_is_not_shown(api: Any) -> None:
    """Release 2 let its keys be stored with the resource."""
    dataset = two_resources()
    resource = model.Resource.get(dataset["resources"][0]["id"])
    resource.extras = {"archiver": "{'status': 'Archived successfully'}"}
    model.Session.commit()
    index.rebuild(dataset["id"])

    assert "archiver" not in show(dataset)["resources"][0]


@pytest.mark.parametrize("resources", [None, "nonsense", ["nonsense"], [{"archiver": {}}], 7])
def test_strip_leaves_complaints_to_the_schema(resources: Any) -> None:
    data = {"archiver": {"verdict": "ok"}, "resources": resources}

    search.strip(data)

    assert "archiver" not in str(data)


# -- package_search ----------------------------------------------------------------------------------------


def test_a_page_of_results_costs_one_query() -> None:
    for _ in range(3):
        for resource in two_resources()["resources"]:
            archive(resource)

    found: list[Dict] = []
    statements = statements_of(lambda: found.append(tk.get_action("package_search")({}, {"q": "*:*"})))

    assert len([one for one in statements if "archival" in one]) == 1
    assert [dataset["archiver"]["verdict"] for dataset in found[0]["results"]] == ["ok", "ok", "ok"]


def test_a_search_for_chosen_fields_gets_no_keys() -> None:
    dataset = two_resources()
    archive(dataset["resources"][0])

    found = tk.get_action("package_search")({}, {"q": "*:*", "fl": "id,title"})

    assert found["results"] == [{"id": dataset["id"], "title": "Rain"}]


@pytest.mark.parametrize(
    ("verdicts", "value"),
    [
        ([], "none"),
        (["ok"], "ok"),
        (["ok", "not-sure"], "not-sure"),
        (["failing", "not-sure"], "failing"),
        (["ok", "broken"], "broken"),
    ],
)
def test_the_facet_is_the_worst_link(verdicts: list[str], value: str) -> None:
    dataset = two_resources()
    for resource, verdict in zip(dataset["resources"], verdicts, strict=False):
        archive(resource, verdict)
    index.rebuild(dataset["id"])

    def found(wanted: str) -> list[str]:
        answer = tk.get_action("package_search")({}, {"fq": f"archiver_status:{wanted}"})
        return [one["id"] for one in answer["results"]]

    assert found(value) == [dataset["id"]]
    assert found({"ok": "broken"}.get(value, "ok")) == []


@pytest.mark.parametrize(
    ("is_broken", "status_id", "value"), [(True, 11, "broken"), (False, 0, "ok"), (None, 22, "not-sure")]
)
def test_rows_of_earlier_releases_have_a_facet(is_broken: bool | None, status_id: int, value: str) -> None:
    dataset = two_resources()
    archive(dataset["resources"][0], None, is_broken=is_broken, status_id=status_id)

    assert search.index_fields({"id": dataset["id"]})["archiver_status"] == value


def test_datasets_with_a_copy_are_found(app: Any) -> None:
    with_copy, without = two_resources(), two_resources()
    archive(with_copy["resources"][1], "broken", cache_filepath="/archive/a.csv")
    archive(without["resources"][0], "broken")
    indexing.note_facet(with_copy["id"], without["id"])
    model.Session.commit()
    assert indexing.refresh_left() == 2

    def found() -> list[str]:
        answer = tk.get_action("package_search")({}, {"fq": "archiver_copy:true", "facet.field": ["archiver_copy"]})
        items = answer["search_facets"]["archiver_copy"]["items"]
        assert items in ([], [{"name": "true", "display_name": "With a cached copy", "count": 1}])
        return [one["id"] for one in answer["results"]]

    assert found() == [with_copy["id"]]
    page = app.get("/dataset/?archiver_copy=true").body
    assert "1 dataset found" in page
    assert "With a cached copy" in page

    for count in maintenance.clean_cached_resources():
        assert count
    assert indexing.refresh_left() == 1
    assert found() == []
    tk.get_action("package_show")({}, {"id": with_copy["id"]})
    answer = tk.get_action("package_search")({}, {"fq": "archiver_status:broken"})
    assert len(answer["results"]) == 2


def test_no_dict_reaches_the_index() -> None:
    dataset = two_resources()

    fields = search.index_fields({"id": dataset["id"], "archiver": {"status_id": 0}})

    assert fields == {"id": dataset["id"], "archiver_status": "none"}


def test_the_round_leaves_the_index_to_be_refreshed_in_batches() -> None:
    """And neither a lease nor a transaction stays behind."""
    datasets = [two_resources() for _ in range(2)]
    for dataset in datasets:
        archive(dataset["resources"][0], "broken")
    indexing.note_facet(*(dataset["id"] for dataset in datasets))
    model.Session.commit()
    assert indexing.refresh_left() == 2
    answer = tk.get_action("package_search")({}, {"fq": "archiver_status:broken"})
    assert {one["id"] for one in answer["results"]} == {dataset["id"] for dataset in datasets}
    assert indexing.refresh_left() == 0
    left = sa.text("""
        SELECT (SELECT value #>> '{}' FROM archiver_state WHERE key = 'indexing'),
            (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
             AND state LIKE 'idle in transaction%')
    """)
    assert tuple(model.Session.execute(left).one()) == (None, 0)


def test_the_facet_has_labels() -> None:
    dataset = two_resources()
    archive(dataset["resources"][0], "broken")
    index.rebuild(dataset["id"])

    found = tk.get_action("package_search")({}, {"q": "*:*", "facet.field": ["archiver_status"]})

    assert found["facets"]["archiver_status"] == {"broken": 1}
    assert found["search_facets"]["archiver_status"]["items"] == [
        {"name": "broken", "display_name": "Link broken", "count": 1}
    ]


def test_the_search_page_offers_the_facet(app: Any) -> None:
    dataset = two_resources()
    archive(dataset["resources"][0], "broken")
    index.rebuild(dataset["id"])

    page = app.get("/dataset/?archiver_status=broken").body

    assert "Link state" in page
    assert "Link broken" in page
    assert "1 dataset found" in page
    assert "No datasets found" in app.get("/dataset/?archiver_status=ok").body


# -- size and traces ---------------------------------------------------------------------------------------


def test_our_keys_do_not_stay_in_the_index() -> None:
    """Without the extension nothing would remove them when package_show reads the dataset from there."""
    dataset = two_resources()
    archive(dataset["resources"][0], "ok")
    index.rebuild(dataset["id"])

    (found,) = search_common.make_connection().search(f'id:"{dataset["id"]}"', fl="data_dict,validated_data_dict").docs

    for name in ("data_dict", "validated_data_dict"):
        assert json.loads(found[name])["resources"]
        assert f'"{search.KEY}' not in found[name].replace("\\", "")


def test_the_payload_of_package_show_stays_below_1_8_times() -> None:
    url = "http://example.org/statistics/2026/rain-{}.csv"
    description = "Rain in millimetres, by station and month, from the network of gauges."
    dataset = factories.Dataset(
        resources=[
            {"url": url.format(n), "name": f"Rain by station {n}", "description": description} for n in range(20)
        ]
    )
    plain = len(json.dumps(show(dataset)))
    for resource in dataset["resources"]:
        archive(resource, "ok", checked_at=clock.naive_utc(), last_success=clock.naive_utc(), size=12)
    assert len(json.dumps(show(dataset))) <= 1.8 * plain
