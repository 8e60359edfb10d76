"""A subscriber of ckanext-archiver: counts the rows of each CSV file, and keeps the number in CKAN's task_status."""

from __future__ import annotations

import csv
import datetime
from typing import Any

import ckan.plugins as p
import ckan.plugins.toolkit as tk

from ckanext.archiver.interfaces import IPipe


class RowCountPlugin(p.SingletonPlugin):
    p.implements(IPipe, inherit=True)

    def receive_data(self, operation: str, queue: str, **params: Any) -> None:
        if operation != "archived" or not params["cache_filepath"]:
            return
        resource = tk.get_action("resource_show")({"ignore_auth": True}, {"id": params["resource_id"]})
        if resource["format"].upper() == "CSV":
            save(resource["id"], count_rows(params["cache_filepath"]))


def count_rows(path: str) -> int:
    """How many rows a CSV file has, without its header."""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        return max(sum(1 for row in csv.reader(file)) - 1, 0)


def save(resource_id: str, rows: int) -> None:
    """Insert or update the one row of this resource: the same event twice does no harm."""
    status = {
        "entity_id": resource_id,
        "entity_type": "resource",
        "task_type": "row_count",
        "key": "rows",
        "value": str(rows),
        "last_updated": datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None).isoformat(),
    }
    tk.get_action("task_status_update")({"ignore_auth": True}, status)
