"""Sample files, made when they are needed: small, and valid where a program opens them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any
from xml.sax.saxutils import escape

Row = Sequence[str | int | float]

# Fixed, so that the same sample has the same bytes in every run and the second look at it finds nothing new.
_ZIP_TIME = (2026, 1, 1, 0, 0, 0)

STREETS = ("Kirkgate", "Briggate", "Market Street", "Station Road", "Mill Lane", "Castle Hill", "Abbey Walk")


def table(header: Sequence[str], rows: Iterable[Row]) -> bytes:
    """A CSV file."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def places(kind: str, number: int) -> list[tuple[str, str, float, float]]:
    """Places along the streets of a town that does not exist: id, name, longitude, latitude."""
    return [
        (f"{kind}-{i:03d}", f"{STREETS[i % len(STREETS)]} {i}", round(-1.55 + i * 0.003, 4), round(53.8 + i * 0.002, 4))
        for i in range(1, number + 1)
    ]


def geojson(kind: str, number: int) -> bytes:
    """A GeoJSON file of points."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [east, north]},
            "properties": {"id": id_, "name": name},
        }
        for id_, name, east, north in places(kind, number)
    ]
    return as_json({"type": "FeatureCollection", "features": features})


def as_json(value: Any) -> bytes:
    """A JSON file."""
    return json.dumps(value, indent=1).encode()


def archive(files: dict[str, bytes]) -> bytes:
    """A ZIP file."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content)
    return data.getvalue()


def workbook(sheet: str, rows: Iterable[Row]) -> bytes:
    """An XLSX file with one sheet: the five parts that ECMA-376 asks for."""
    kinds = "http://schemas.openxmlformats.org"
    main, links = f"{kinds}/spreadsheetml/2006/main", f"{kinds}/package/2006/relationships"
    office, types = (
        f"{kinds}/officeDocument/2006/relationships",
        "application/vnd.openxmlformats-officedocument",
    )
    cells = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{kinds}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{types}.spreadsheetml.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{types}.spreadsheetml.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{links}"><Relationship Id="rId1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        f'<sheet name="{escape(sheet)}" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{links}"><Relationship Id="rId1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    return archive({name: (head + text).encode() for name, text in parts.items()})


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f"<c><v>{value}</v></c>"


def pdf(lines: Iterable[str]) -> bytes:
    """A PDF of one page with lines of plain ASCII text."""
    shown = " T* ".join(
        "({}) Tj".format(line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")) for line in lines
    )
    content = f"BT /F1 14 Tf 18 TL 72 770 Td {shown} ET".encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, places_of = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places_of.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % place for place in places_of)
    file += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(file)


def page(title: str, text: str) -> bytes:
    """An HTML page."""
    return f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>\n".encode()  # noqa: E501 - one page
