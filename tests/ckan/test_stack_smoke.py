"""The servers of the stack answer, and CKAN works on them."""

from __future__ import annotations

import pytest

import ckan.plugins.toolkit as tk
from ckan.common import config
from ckan.lib.redis import connect_to_redis
from ckan.tests import factories


@pytest.mark.usefixtures("clean_db", "clean_index")
def test_a_dataset_is_stored_and_found() -> None:
    dataset = factories.Dataset(title="Rainfall by month")

    found = tk.get_action("package_search")({}, {"q": "rainfall"})

    assert [one["id"] for one in found["results"]] == [dataset["id"]]


def test_the_broker_answers() -> None:
    assert connect_to_redis().ping()


def test_the_tests_do_not_run_on_the_site_of_the_stack() -> None:
    assert config["sqlalchemy.url"].endswith("_test")
    assert config["ckan.site_id"] == "archiver-test"
