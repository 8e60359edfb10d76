"""Which edits put a request, and which do not: with CKAN's own actions, its database and the broker of the stack."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
import sqlalchemy as sa
from ckan import model
from ckan.lib.redis import connect_to_redis
from ckan.tests import factories

from ckanext.archiver import archiving, indexing
from ckanext.archiver.model import Archival, ArchiverNotice, ArchiverRequest
from ckanext.archiver.queue import enqueue, notices, rounds
from ckanext.archiver.report_tables import ArchiverSnooze
from origin_server import Origin

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]


def act(action: str, data: Dict, **context: Any) -> Any:
    return tk.get_action(action)({"ignore_auth": True, "user": "", **context}, data)


def wanted() -> dict[str, str]:
    """What was committed: resource id → queue."""
    model.Session.rollback()
    return {request.resource_id: request.queue for request in model.Session.query(ArchiverRequest)}


def messages() -> list[list[str]]:
    """The arguments of each message that waits in the queue ``priority``, oldest first."""
    waiting = reversed(connect_to_redis().lrange("priority", 0, -1))
    return [json.loads(_body(message))[0] for message in waiting]


def _body(message: bytes) -> bytes:
    return base64.b64decode(json.loads(message)["body"])


def archive_all() -> None:
    """Do what is requested, as a worker would, and forget the messages about it."""
    for resource_id in wanted():
        archiving.archive_resource(resource_id, at_once=True)
    connect_to_redis().delete("priority")
    assert not wanted()


@pytest.fixture
def dataset(origin: Origin) -> Dict:
    """A dataset of two resources that were archived."""
    for path in ("/stops.csv", "/routes.csv", "/new.csv"):
        origin.serve(path, b"id,name\n1,Kirkgate\n")
    organization = factories.Organization()
    made = factories.Dataset(
        owner_org=organization["id"],
        resources=[
            {"name": "Stops", "url": origin.url("/stops.csv"), "format": "CSV"},
            {"name": "Routes", "url": origin.url("/routes.csv"), "format": "CSV"},
        ],
    )
    archive_all()
    assert {row.verdict for row in model.Session.query(Archival)} == {"ok"}
    return act("package_show", {"id": made["id"]})


# -- what is worth an archival -------------------------------------------------------------------------------------


def test_a_new_dataset_requests_its_resources_at_once(origin: Origin) -> None:
    made = factories.Dataset(resources=[{"url": origin.url("/a.csv")}, {"url": origin.url("/b.csv")}])

    ids = [resource["id"] for resource in made["resources"]]
    assert wanted() == dict.fromkeys(ids, "priority")
    assert sorted(messages()) == sorted([id_, "priority"] for id_ in ids)


def test_a_request_names_dataset_host_and_reason(origin: Origin) -> None:
    made = factories.Resource(url="https://user:secret@Data.Example.ORG:8443/Ä b.csv?x=http://other.example/")

    (request,) = model.Session.query(ArchiverRequest)
    assert (request.package_id, request.host, request.reason) == (
        made["package_id"],
        "data.example.org",
        "changed",
    )
    assert request.lease_token is None


def test_a_new_resource_requests_itself_and_not_its_neighbours(dataset: Dict, origin: Origin) -> None:
    made = act("resource_create", {"package_id": dataset["id"], "url": origin.url("/new.csv")})

    assert wanted() == {made["id"]: "priority"}
    assert messages() == [[made["id"], "priority"]]


def _package_update(dataset: Dict, url: str) -> None:
    dataset["resources"][0]["url"] = url
    act("package_update", dataset)


def _package_patch(dataset: Dict, url: str) -> None:
    resources = [dict(resource) for resource in dataset["resources"]]
    resources[0]["url"] = url
    act("package_patch", {"id": dataset["id"], "resources": resources})


def _package_revise(dataset: Dict, url: str) -> None:
    prefix = f"update__resources__{dataset['resources'][0]['id'][:8]}"
    act("package_revise", {"match__id": dataset["id"], prefix: {"url": url}})


def _resource_update(dataset: Dict, url: str) -> None:
    act("resource_update", {**dataset["resources"][0], "url": url})


def _resource_patch(dataset: Dict, url: str) -> None:
    act("resource_patch", {"id": dataset["resources"][0]["id"], "url": url})


def _model_edit(dataset: Dict, url: str) -> None:
    model.Resource.get(dataset["resources"][0]["id"]).url = url
    model.repo.commit_and_remove()


def _model_edit_flushed_before(dataset: Dict, url: str) -> None:
    """A flush takes away what SQLAlchemy knows of the change."""
    resource = model.Resource.get(dataset["resources"][0]["id"])
    resource.url = url
    model.Session.flush()
    resource.description = "A second change"
    model.Session.flush()
    model.Session.commit()


WAYS_TO_CHANGE_A_URL = (
    _package_update,
    _package_patch,
    _package_revise,
    _resource_update,
    _resource_patch,
    _model_edit,
    _model_edit_flushed_before,
)


def test_a_changed_url_is_requested_by_every_way_to_change_it(dataset: Dict, origin: Origin) -> None:
    changed = dataset["resources"][0]["id"]
    for number, change in enumerate(WAYS_TO_CHANGE_A_URL):
        url = origin.serve(f"/way-{number}.csv", b"a,b\n")

        change(act("package_show", {"id": dataset["id"]}), url)

        assert wanted() == {changed: "priority"}, change.__name__
        assert messages() == [[changed, "priority"]], change.__name__
        archive_all()
        assert Archival.get_for_resource(changed).source_url == url
    assert origin.asked("/routes.csv") == 1, "the other resource was not edited"


def test_a_url_that_changes_twice_is_one_request(dataset: Dict, origin: Origin) -> None:
    resource_id = dataset["resources"][0]["id"]

    _resource_patch(dataset, origin.url("/newer.csv"))
    _resource_patch(dataset, origin.url("/new.csv"))

    assert wanted() == {resource_id: "priority"}
    archive_all()
    assert origin.asked("/newer.csv") == 0


def test_an_edit_brings_forward_what_waits_for_the_round(dataset: Dict, origin: Origin) -> None:
    resource_id = dataset["resources"][0]["id"]
    enqueue.put_resource(resource_id, "bulk", "round")
    model.Session.commit()
    assert wanted() == {resource_id: "bulk"}

    _resource_patch(dataset, origin.url("/new.csv"))

    assert wanted() == {resource_id: "priority"}


def test_a_harvester_makes_and_edits_many_in_one_transaction(dataset: Dict, origin: Origin) -> None:
    for number, resource in enumerate(dataset["resources"]):
        model.Resource.get(resource["id"]).url = origin.url(f"/again-{number}.csv")
    made = [
        act(
            "package_create",
            {"name": f"harvested-{number}", "resources": [{"url": origin.url("/new.csv")}]},
            defer_commit=True,
            return_id_only=True,
        )
        for number in range(3)
    ]
    assert messages() == []
    model.Session.commit()

    ids = {resource["id"] for resource in dataset["resources"]}
    ids |= {model.Package.get(id_).resources[0].id for id_ in made}
    assert len(ids) == 5
    assert set(wanted()) == ids
    assert {resource_id for resource_id, _ in messages()} == ids


# -- what is not ---------------------------------------------------------------------------------------------------


def _title(dataset: Dict) -> None:
    act("package_patch", {"id": dataset["id"], "title": "Another title"})


def _tags(dataset: Dict) -> None:
    act("package_patch", {"id": dataset["id"], "tags": [{"name": "buses"}]})


def _extras(dataset: Dict) -> None:
    act("package_patch", {"id": dataset["id"], "extras": [{"key": "colour", "value": "red"}]})


def _private(dataset: Dict) -> None:
    act("package_patch", {"id": dataset["id"], "private": True})


def _description(dataset: Dict) -> None:
    act(
        "resource_patch",
        {"id": dataset["resources"][0]["id"], "description": "One row per stop", "format": "TXT"},
    )


def _resource_extra(dataset: Dict) -> None:
    act("resource_patch", {"id": dataset["resources"][0]["id"], "colour": "red"})


def _reorder(dataset: Dict) -> None:
    order = [resource["id"] for resource in reversed(dataset["resources"])]
    act("package_resource_reorder", {"id": dataset["id"], "order": order})


def _update_without_a_change(dataset: Dict) -> None:
    act("package_update", dataset)


def _remove_the_neighbour(dataset: Dict) -> None:
    act("resource_delete", {"id": dataset["resources"][1]["id"]})


def _model_edit_of_a_name(dataset: Dict) -> None:
    model.Resource.get(dataset["resources"][0]["id"]).name = "Another name"
    model.Session.commit()


OTHER_EDITS = (
    _title,
    _tags,
    _extras,
    _private,
    _description,
    _resource_extra,
    _reorder,
    _update_without_a_change,
    _model_edit_of_a_name,
    _remove_the_neighbour,
)


def test_any_other_edit_requests_nothing(dataset: Dict) -> None:
    for edit in OTHER_EDITS:
        edit(act("package_show", {"id": dataset["id"]}))

        assert wanted() == {}, edit.__name__
        assert messages() == [], edit.__name__


def test_an_edit_that_failed_requests_nothing(dataset: Dict) -> None:
    with pytest.raises(tk.ValidationError):
        act("resource_create", {"package_id": dataset["id"], "url": "http://127.0.0.1/x", "size": "many"})

    assert wanted() == {}
    assert messages() == []


@pytest.mark.ckan_config("ckanext-archiver.archive_on_change", "false")
def test_nothing_is_requested_where_the_operator_switched_it_off(origin: Origin) -> None:
    made = factories.Dataset(resources=[{"url": origin.url("/a.csv")}])
    act("resource_patch", {"id": made["resources"][0]["id"], "url": origin.url("/b.csv")})

    assert wanted() == {}
    assert messages() == []


@pytest.mark.ckan_config("ckanext-archiver.archive_on_change", "false")
def test_deleting_withdraws_also_where_edits_request_nothing(origin: Origin) -> None:
    made = factories.Dataset(resources=[{"url": origin.url("/a.csv")}])
    enqueue.put_resource(made["resources"][0]["id"], "bulk", "command")
    model.Session.commit()

    act("package_delete", {"id": made["id"]})

    assert wanted() == {}


# -- drafts --------------------------------------------------------------------------------------------------------


def test_a_draft_is_archived_once_and_not_again_when_it_is_finished(origin: Origin) -> None:
    """The form makes a draft, adds the resources, and then makes the dataset active."""
    origin.serve("/a.csv", b"a,b\n")
    draft = factories.Dataset(state="draft")
    resource = act("resource_create", {"package_id": draft["id"], "url": origin.url("/a.csv")})
    assert wanted() == {resource["id"]: "priority"}
    archive_all()

    act("package_patch", {"id": draft["id"], "state": "active"})

    assert wanted() == {}
    assert Archival.get_for_resource(resource["id"]).verdict == "ok"


# -- deleting and purging ------------------------------------------------------------------------------------------


def test_a_deleted_resource_is_not_wanted_any_more(dataset: Dict, origin: Origin) -> None:
    first, second = (resource["id"] for resource in dataset["resources"])
    for resource_id in (first, second):
        act("resource_patch", {"id": resource_id, "url": origin.url("/new.csv")})

    act("resource_delete", {"id": first})

    assert wanted() == {second: "priority"}


def test_the_facet_does_not_keep_the_verdict_of_a_deleted_resource(dataset: Dict) -> None:
    first, second = (resource["id"] for resource in dataset["resources"])
    verdicts = "UPDATE archival SET verdict = CASE WHEN resource_id = :id THEN 'broken' ELSE 'ok' END"
    model.Session.connection().execute(sa.text(verdicts), {"id": first})
    indexing.note_facet(dataset["id"])
    model.Session.commit()

    act("resource_delete", {"id": first})

    facet = "SELECT facet FROM archiver_dataset WHERE package_id = :id"
    assert model.Session.connection().execute(sa.text(facet), {"id": dataset["id"]}).scalar() == "ok+copy"


@pytest.mark.parametrize("action", ["package_delete", "dataset_purge"])
def test_a_deleted_dataset_is_not_wanted_any_more(action: str, dataset: Dict, origin: Origin) -> None:
    for resource in dataset["resources"]:
        act("resource_patch", {"id": resource["id"], "url": origin.url("/new.csv")})
    other = factories.Dataset(resources=[{"url": origin.url("/other.csv")}])

    act(action, {"id": dataset["id"]})

    assert wanted() == {other["resources"][0]["id"]: "priority"}


def test_a_deletion_that_is_rolled_back_withdraws_nothing(dataset: Dict, origin: Origin) -> None:
    resource_id = dataset["resources"][0]["id"]
    act("resource_patch", {"id": resource_id, "url": origin.url("/new.csv")})

    model.Package.get(dataset["id"]).state = "deleted"
    with refused_commits(), pytest.raises(sa.exc.DBAPIError):
        model.Session.commit()
    model.Session.rollback()

    assert wanted() == {resource_id: "priority"}


def test_the_message_of_a_deleted_resource_does_nothing(dataset: Dict, origin: Origin) -> None:
    resource_id = dataset["resources"][0]["id"]
    act("resource_patch", {"id": resource_id, "url": origin.url("/new.csv")})
    act("resource_delete", {"id": resource_id})
    assert messages() == [[resource_id, "priority"]]

    assert archiving.archive_resource(resource_id, "priority") is None
    assert origin.asked("/new.csv") == 0


def test_a_deleted_dataset_keeps_its_copies_and_a_restored_one_is_not_fetched_again(dataset: Dict) -> None:
    resource_id = dataset["resources"][0]["id"]
    act("package_delete", {"id": dataset["id"]})
    assert Path(Archival.get_for_resource(resource_id).cache_filepath).is_file()

    act("package_patch", {"id": dataset["id"], "state": "active"})

    assert wanted() == {}


def test_a_dataset_restored_before_it_was_ever_archived_is_left_to_the_round(origin: Origin) -> None:
    made = factories.Dataset(resources=[{"url": origin.url("/a.csv")}])
    act("package_delete", {"id": made["id"]})
    assert wanted() == {}

    act("package_patch", {"id": made["id"], "state": "active"})
    rounds.put_never_planned()

    assert wanted() == {made["resources"][0]["id"]: "bulk"}


def test_a_purged_dataset_loses_its_archivals_and_a_worker_removes_the_copies(dataset: Dict) -> None:
    copies = [Path(row.cache_filepath) for row in model.Session.query(Archival)]
    assert all(copy.is_file() for copy in copies)
    assert len(copies) == 2

    model.Session.add(
        ArchiverSnooze(resource_id=dataset["resources"][0]["id"], until="2100-01-01", reason="", user_id="")
    )
    model.Session.commit()

    act("dataset_purge", {"id": dataset["id"]})

    model.Session.rollback()
    assert model.Session.query(ArchiverSnooze).count() == 0
    assert model.Session.query(Archival).count() == 0
    assert {notice.operation for notice in model.Session.query(ArchiverNotice)} == {"purged"}
    assert all(copy.is_file() for copy in copies), "a web process removes no files: the purge might roll back"
    notices.deliver_abandoned()
    assert not any(copy.parent.exists() for copy in copies)
    assert model.Session.query(ArchiverNotice).count() == 0


# -- transactions --------------------------------------------------------------------------------------------------


class refused_commits:  # noqa: N801 - used like a function
    """PostgreSQL refuses every COMMIT that changes a dataset or resource, after everything else went well."""

    def __enter__(self) -> None:
        self._run("""
            CREATE FUNCTION archiver_test_refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
            CREATE CONSTRAINT TRIGGER archiver_test_refuse AFTER INSERT OR UPDATE ON resource
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION archiver_test_refuse();
            CREATE CONSTRAINT TRIGGER archiver_test_refuse AFTER INSERT OR UPDATE ON package
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION archiver_test_refuse();
        """)

    def __exit__(self, *failure: object) -> None:
        model.Session.rollback()
        self._run("DROP FUNCTION archiver_test_refuse CASCADE")

    def _run(self, sql: str) -> None:
        with model.meta.engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
            connection.execute(sa.text(sql))


def test_an_edit_that_is_rolled_back_leaves_no_request_and_no_message(dataset: Dict, origin: Origin) -> None:
    model.Session.rollback()
    resource_id = dataset["resources"][0]["id"]

    with refused_commits(), pytest.raises(sa.exc.DBAPIError):
        act("resource_patch", {"id": resource_id, "url": origin.url("/new.csv")})
    model.Session.rollback()

    assert model.Resource.get(resource_id).url == origin.url("/stops.csv")
    assert wanted() == {}
    assert messages() == []

    # And what was rolled back is not sent along with the next edit.
    other = dataset["resources"][1]["id"]
    act("resource_patch", {"id": other, "url": origin.url("/new.csv")})
    assert messages() == [[other, "priority"]]


def test_the_message_waits_for_the_root_commit(dataset: Dict, origin: Origin) -> None:
    """CKAN 2.12 saves inside a SAVEPOINT; SQLAlchemy's after_commit fires for its release as well."""
    resource_id = dataset["resources"][0]["id"]

    with model.Session.begin_nested():
        model.Resource.get(resource_id).url = origin.url("/new.csv")
    assert messages() == []

    model.Session.commit()
    assert messages() == [[resource_id, "priority"]]


def test_what_a_savepoint_takes_back_is_not_requested(dataset: Dict, origin: Origin) -> None:
    taken_back, kept = (resource["id"] for resource in dataset["resources"])

    outer = model.Session.begin_nested()
    with model.Session.begin_nested():
        model.Resource.get(taken_back).url = origin.url("/new.csv")
    outer.rollback()
    model.Resource.get(kept).url = origin.url("/new.csv")
    model.Session.commit()

    assert wanted() == {kept: "priority"}
    assert messages() == [[kept, "priority"]]


def test_a_savepoint_that_is_taken_back_later_does_not_hold_back_what_came_before(
    dataset: Dict, origin: Origin
) -> None:
    kept, taken_back = (resource["id"] for resource in dataset["resources"])

    with model.Session.begin_nested():
        model.Resource.get(kept).url = origin.url("/new.csv")
    outer = model.Session.begin_nested()
    with model.Session.begin_nested():
        model.Resource.get(taken_back).url = origin.url("/new.csv")
    outer.rollback()
    model.Session.commit()

    # Its message may be left to the dispatcher; the request is there.
    assert wanted() == {kept: "priority"}
    assert [resource_id for resource_id, _ in messages()] in ([kept], [])


# -- round trips ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stored() -> Iterator[Callable[[], str]]:
    """``stored()``: everything the database has of datasets and resources, as text."""

    def text() -> str:
        model.Session.rollback()
        tables = ["package", "resource", *(["package_extra"] if hasattr(model, "PackageExtra") else [])]
        connection = model.Session.connection()
        rows = [row for table in tables for row in connection.execute(sa.text(f"SELECT to_jsonb(t) FROM {table} t"))]
        return json.dumps([row[0] for row in rows])

    return text  # type: ignore[return-value]


def test_a_client_that_sends_back_what_it_was_shown_stores_nothing_of_ours(
    dataset: Dict, stored: Callable[[], str]
) -> None:
    assert dataset["archiver"]["verdict"] == "ok"
    assert dataset["resources"][0]["archiver"]["verdict"] == "ok"

    act("package_update", {**dataset, "title": "Another title"})
    act(
        "resource_update",
        {**act("resource_show", {"id": dataset["resources"][0]["id"]}), "description": "Stops"},
    )

    assert "Another title" in stored()
    assert "cache_filepath" not in stored()
    assert '"archiver"' not in stored()
    assert wanted() == {}
