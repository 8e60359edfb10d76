"""A workbook (Office Open XML, ECMA-376) that is written while it is read from the database.

A text is an inline string: nothing in it can be a formula, a number that loses its zeros, or a date. No file and no
list of rows is kept, so that memory stays flat and the first bytes go out at once.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any
from xml.sax.saxutils import escape

ROWS_PER_SHEET = 1_048_576
"""As many as a spreadsheet program reads."""

CELL = 32_767
"""As many characters of a cell as it reads."""

CHUNK = 16_384

# XML 1.0, section 2.2: no escape makes these characters legal.
ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_SPREADSHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"


class _Pipe(io.RawIOBase):
    """A file that hands on what is written to it: ``zipfile`` writes to it as to a stream that cannot seek."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self.size = 0

    def write(self, piece: Any, /) -> int:
        self._pieces.append(bytes(piece))
        self.size += len(piece)
        return len(piece)

    def writable(self) -> bool:
        return True

    def take(self) -> bytes:
        """What was written since the last time."""
        taken, self._pieces, self.size = b"".join(self._pieces), [], 0
        return taken


def workbook(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """The bytes of a workbook, piece by piece.

    :param rows: the cells of each row; None is an empty cell, a number is one, everything else becomes text
    """
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        sheets, pending = 0, iter(rows)
        row: Sequence[Any] | None = next(pending, ())
        while row is not None:
            sheets += 1
            with archive.open(f"xl/worksheets/sheet{sheets}.xml", "w", force_zip64=True) as sheet:
                _write(sheet, f'{_DECLARATION}<worksheet xmlns="{_SPREADSHEET}"><sheetData>')
                for number in range(1, ROWS_PER_SHEET + 1):
                    if row is None:
                        break
                    _write(sheet, _row(number, row))
                    if pipe.size > CHUNK or number == 1:
                        yield pipe.take()
                    row = next(pending, None)
                _write(sheet, "</sheetData></worksheet>")
        for name, text in _parts(sheets):
            archive.writestr(name, _DECLARATION + text)
    yield pipe.take()


def _write(sheet: IO[bytes], text: str) -> None:
    sheet.write(text.encode())


def _row(number: int, cells: Sequence[Any]) -> str:
    return f'<row r="{number}">' + "".join(map(_cell, cells)) + "</row>"


def _cell(value: Any) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"<c><v>{value}</v></c>"
    text = escape(ILLEGAL.sub("\ufffd", str(value))[:CELL])
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def _parts(sheets: int) -> Iterator[tuple[str, str]]:
    """The parts that say what the sheets are."""
    numbers = range(1, sheets + 1)
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{_TYPE}.worksheet+xml"/>' for n in numbers
    )
    yield (
        "[Content_Types].xml",
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>{overrides}</Types>',
    )
    yield (
        "_rels/.rels",
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
    )
    listed = "".join(f'<sheet name="Links {n}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
    yield (
        "xl/workbook.xml",
        f'<workbook xmlns="{_SPREADSHEET}" xmlns:r="{_RELATIONS}"><sheets>{listed}</sheets></workbook>',
    )
    related = "".join(
        f'<Relationship Id="rId{n}" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
    )
    yield "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{_PACKAGE}/relationships">{related}</Relationships>'
