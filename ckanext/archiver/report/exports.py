"""The report as files: CSV, JSON and XLSX of any length, row by row, and an Atom feed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ckanext.archiver.report import xlsx

Row = Mapping[str, Any]

LINK_COLUMNS = (
    # Those of earlier releases first, in their order.
    "organization_title",
    "organization_name",
    "package_title",
    "package_name",
    "resource_name",
    "resource_id",
    "resource_position",
    "resource_url",
    "url_up_to_date",
    "via",
    "status",
    "reason",
    "failure_count",
    "first_failure",
    "last_success",
    "last_updated",
    "url_redirected_to",
    "verdict",
    "cause",
    "host",
    "resource_format",
    "failing_since",
    "broken_since",
    "permanent_url",
    "has_copy",
    "package_private",
    "snoozed_until",
    "snooze_reason",
)

TIMES = frozenset({"first_failure", "last_success", "last_updated", "failing_since", "broken_since"})

INDEX_COLUMNS = (
    "organization_title",
    "organization_name",
    "package_count",
    "resource_count",
    "broken_package_count",
    "broken_package_percent",
    "broken_resource_count",
    "broken_resource_percent",
)

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "atom": "application/atom+xml; charset=utf-8",
}

BUFFER = 16_384
"""Characters that are put together before they go out."""


def as_csv(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """CSV (RFC 4180), the titles first."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    yield _taken(out)
    for number, row in enumerate(rows):
        writer.writerow([cell(row.get(column)) for column in columns])
        if number == 0 or out.tell() > BUFFER:
            yield _taken(out)
    yield _taken(out)


def _taken(out: io.StringIO) -> str:
    text = out.getvalue()
    out.seek(0)
    out.truncate()
    return text


def cell(value: Any) -> Any:
    """A cell of a CSV file that no spreadsheet runs as a formula (CWE-1236).

    Where a spreadsheet's list separator is a semicolon or a tab it divides a cell there, so the text behind one
    starts a cell as well.
    """
    if not isinstance(value, str):
        return value
    value = _FORMULA_BEHIND_SEPARATOR.sub(r"\1'", value)
    return "'" + value if value.startswith(_FORMULA) else value


# Some spreadsheets take the full-width forms for the same.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")
_FORMULA_BEHIND_SEPARATOR = re.compile(r"([;\t\r\n|][\s\"']*)(?=[=+\-@])")


def as_xlsx(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    """A workbook, the titles first. A text is a string, also one like a formula; times are to the second."""

    def cells() -> Iterator[Sequence[Any]]:
        yield columns
        for row in rows:
            yield [_to_the_second(row.get(column)) if column in TIMES else row.get(column) for column in columns]

    return xlsx.workbook(cells())


def _to_the_second(moment: str | None) -> str | None:
    """ISO 8601 as people write it: "2026-11-26 23:05:00"."""
    return moment[:19].replace("T", " ") if moment else None


def as_json(head: Mapping[str, Any], rows: Iterable[Row]) -> Iterator[str]:
    """An object with some keys, and the rows under ``table``."""
    opening = json.dumps({**head, "table": []})
    yield opening.removesuffix("]}")
    pending = io.StringIO()
    for number, row in enumerate(rows):
        pending.write((",\n" if number else "\n") + json.dumps(row))
        if number == 0 or pending.tell() > BUFFER:
            yield _taken(pending)
    yield _taken(pending) + "]}"


TABLES: dict[str, Callable[[Sequence[str], Iterable[Row]], Iterator[Any]]] = {"csv": as_csv, "xlsx": as_xlsx}
"""The formats that have columns."""
