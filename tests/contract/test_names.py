"""The names that other people's code imports. A change here breaks portals."""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import entry_points

import ckan.plugins as p
import pytest

NAMES = {
    "ckanext.archiver.interfaces": ["IPipe"],
    "ckanext.archiver.model": ["Archival", "Status", "init_tables", "aggregate_archivals_for_a_dataset"],
    "ckanext.archiver.lib": ["create_archiver_package_task", "create_archiver_resource_task"],
    "ckanext.archiver.reports": ["broken_links_report_info"],
    "ckanext.archiver.helpers": [
        "archiver_is_resource_broken_html",
        "archiver_is_resource_cached_html",
        "archiver_format_resource_items",
    ],
    "ckanext.archiver.logic.action": ["archiver_resource_show", "archiver_dataset_show"],
    "ckanext.archiver.logic.auth": ["archiver_resource_show", "archiver_dataset_show"],
    "ckanext.archiver.plugin": ["ArchiverPlugin", "TestIPipePlugin"],
    "ckanext.archiver.worker": ["app"],
    "ckanext.archiver.tasks": [
        "ArchiveError",
        "ArchiverError",
        "ChooseNotToDownload",
        "CkanError",
        "DownloadError",
        "DownloadException",
        "LinkCheckerError",
        "LinkHeadMethodNotSupported",
        "LinkHeadRequestError",
        "LinkInvalidError",
        "NotChanged",
        "api_request",
        "archive_resource",
        "download",
        "link_checker",
        "notify_package",
        "notify_resource",
        "response_is_an_api_error",
        "tidy_url",
        "update_package",
        "update_resource",
    ],
}

ARCHIVAL_COLUMNS = {
    "id",
    "package_id",
    "resource_id",
    "resource_timestamp",
    "status_id",
    "is_broken",
    "reason",
    "url_redirected_to",
    "cache_filepath",
    "cache_url",
    "size",
    "mimetype",
    "hash",
    "etag",
    "last_modified",
    "first_failure",
    "last_success",
    "failure_count",
    "created",
    "updated",
}

STATUS_TEXTS = {
    0: "Archived successfully",
    1: "Content has not changed",
    10: "URL invalid",
    11: "URL request failed",
    12: "Download error",
    21: "Chose not to download",
    22: "Download failure",
    23: "System error during archival",
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in NAMES for name in NAMES[module]])
def test_a_public_name_is_there(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_the_names_of_tasks_are_all_listed():
    tasks = importlib.import_module("ckanext.archiver.tasks")
    assert sorted(tasks.__all__) == NAMES["ckanext.archiver.tasks"]


def test_archival_keeps_its_columns():
    from ckanext.archiver.model import Archival

    assert set(Archival.__table__.columns.keys()) >= ARCHIVAL_COLUMNS


def test_the_status_texts_are_those_other_extensions_compare():
    from ckanext.archiver.model import Status

    for id_, text in STATUS_TEXTS.items():
        assert (Status.by_id(id_), Status.by_text(text)) == (text, id_)
    assert [Status.is_status_broken(id_) for id_ in (0, 1, 10, 11, 12, 21, 22, 23)] == [
        False,
        False,
        True,
        True,
        True,
        None,
        None,
        None,
    ]
    assert [Status.is_ok(id_) for id_ in (0, 1, 21)] == [True, True, False]


@pytest.mark.parametrize("status_id", [None, 99])
def test_a_status_that_is_none_of_ours_has_no_text(status_id):
    from ckanext.archiver.model import Archival

    assert Archival(status_id=status_id).status is None
    assert Archival(status_id=status_id).as_dict()["status"] is None


def test_ipipe_keeps_its_methods():
    from ckanext.archiver.interfaces import IPipe

    assert list(inspect.signature(IPipe.receive_data).parameters) == ["self", "operation", "queue", "params"]
    assert list(inspect.signature(IPipe.send_data).parameters) == ["operation", "queue", "params"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("notify_package", ["package", "queue", "cache_filepath"]),
        ("notify_resource", ["resource", "queue", "cache_filepath"]),
        ("link_checker", ["context", "data"]),
    ],
)
def test_functions_of_tasks_keep_their_parameters(name, parameters):
    tasks = importlib.import_module("ckanext.archiver.tasks")
    assert list(inspect.signature(getattr(tasks, name)).parameters) == parameters


@pytest.mark.parametrize("name", ["update_package", "update_resource"])
def test_the_tasks_are_celery_tasks_whose_attributes_can_be_set(name):
    task = getattr(importlib.import_module("ckanext.archiver.tasks"), name)
    assert task.name == f"archiver.{name}"
    task.max_retries = 0
    assert task.max_retries == 0


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("ckan.plugins", "archiver"),
        ("ckan.plugins", "testipipe"),
        ("ckan.celery_task", "tasks"),
        ("ckan.click_command", "archiver"),
        ("ckan.click_command", "celeryd2"),
        ("console_scripts", "paster"),
    ],
)
def test_an_entry_point_loads(group, name):
    found = [entry for entry in entry_points(group=group) if entry.name == name and "archiver" in entry.value]
    assert len(found) == 1
    assert callable(found[0].load())


def test_the_test_plugin_remembers_calls(with_plugins):
    from ckanext.archiver.interfaces import IPipe

    with p.use_plugin("testipipe") as plugin:
        plugin.reset()
        IPipe.send_data("archived", "bulk", resource_id="r", cache_filepath=None)
        assert plugin.calls == [["archived", "bulk", {"resource_id": "r", "cache_filepath": None}]]
        plugin.reset()
        assert plugin.calls == []
