"""Files of the report: CSV, JSON and XLSX, made row by row so that memory does not grow with their number."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from ckanext.archiver import reports

Link = Mapping[str, Any]

COLUMNS = (*reports.LINK_COLUMNS, "verdict", "cause", "since", "host", "format", "permanent_url", "has_copy")
"""The columns of older releases, and those of the list's filters behind them."""

CHUNK = 64 * 1024

MAX_CELL = 32_767
"""Characters that a cell of a spreadsheet can hold."""


def as_csv(links: Iterable[Link]) -> Iterator[str]:
    """CSV (RFC 4180); no cell can run as a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for link in links:
        writer.writerow([reports.cell(link[column]) for column in COLUMNS])
        if out.tell() > CHUNK:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def as_json(links: Iterable[Link]) -> Iterator[str]:
    """A JSON object with the links under ``table``."""
    yield '{"table": ['
    separator = ""
    for link in links:
        yield separator + json.dumps(link)
        separator = ",\n"
    yield "]}\n"


def as_xlsx(links: Iterable[Link]) -> Iterator[bytes]:
    """A workbook with one sheet; every text is a text cell, so none can run as a formula."""
    out = _Chunks()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _XLSX_PARTS.items():
            archive.writestr(name, text)
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write(_SHEET_BEGIN.encode())
            sheet.write(_xlsx_row(COLUMNS))
            for link in links:
                sheet.write(_xlsx_row([link[column] for column in COLUMNS]))
                if out.size > CHUNK:
                    yield out.take()
            sheet.write(b"</sheetData></worksheet>")
    yield out.take()


class _Chunks(io.RawIOBase):
    """A file that cannot seek, from which what was written can be taken."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.chunks.append(bytes(data))
        self.size += len(data)
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self.chunks)
        self.chunks, self.size = [], 0
        return data


def _xlsx_row(values: Sequence[Any]) -> bytes:
    return f"<row>{''.join(_xlsx_cell(value) for value in values)}</row>".encode()


def _xlsx_cell(value: Any) -> str:
    if value is None or value == "":
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, (int, float)):
        return f"<c><v>{value}</v></c>"
    text = "".join(character for character in str(value)[:MAX_CELL] if character in "\t\n\r" or character >= " ")
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'


_XMLNS = "http://schemas.openxmlformats.org"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_SHEET_BEGIN = f'{_HEAD}<worksheet xmlns="{_XMLNS}/spreadsheetml/2006/main"><sheetData>'

_XLSX_PARTS = {
    "[Content_Types].xml": f'{_HEAD}<Types xmlns="{_XMLNS}/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>',
    "_rels/.rels": f'{_HEAD}<Relationships xmlns="{_XMLNS}/package/2006/relationships"><Relationship Id="rId1" '
    f'Type="{_XMLNS}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'{_HEAD}<workbook xmlns="{_XMLNS}/spreadsheetml/2006/main" '
    f'xmlns:r="{_XMLNS}/officeDocument/2006/relationships"><sheets><sheet name="Links" sheetId="1" r:id="rId1"/>'
    "</sheets></workbook>",
    "xl/_rels/workbook.xml.rels": f'{_HEAD}<Relationships xmlns="{_XMLNS}/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{_XMLNS}/officeDocument/2006/relationships/worksheet" '
    'Target="worksheets/sheet1.xml"/></Relationships>',
}

FORMATS: dict[str, tuple[Callable[[Iterable[Link]], Iterator[Any]], str]] = {
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "json": (as_json, "application/json"),
    "xlsx": (as_xlsx, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
}
"""The name of a format → (its writer, its media type)."""
