"""The demo's portal as data: datasets, their links, what the links lead to, and what is expected of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from origin_server import Answer, Request, revalidating

from . import samples
from .history import Past

LIMIT = 2_000_000
"""Largest file, in bytes, that the demo archives."""


@dataclass(frozen=True)
class Organization:
    """A publisher.

    :ivar parent: the name of the organization above it
    :ivar has_editor: the demo's editor may edit its datasets
    """

    name: str
    title: str
    description: str
    parent: str = ""
    has_editor: bool = True


ORGANIZATIONS = (
    Organization("northshire-council", "Northshire Council", "A county council that does not exist."),
    Organization(
        "wexbridge-town-council",
        "Wexbridge Town Council",
        "The largest town of Northshire.",
        parent="northshire-council",
    ),
    Organization(
        "northshire-environment-agency",
        "Northshire Environment Agency",
        "Measures air and water. The demo's editor may not edit its datasets.",
        has_editor=False,
    ),
)

SAMPLE_NOTE = "The history before today is sample data."


@dataclass(frozen=True)
class Expected:
    """What must be known of a link after its check."""

    verdict: str
    cause: str
    cached: bool = False


OK = Expected("ok", "ok", cached=True)


@dataclass(frozen=True)
class Link:
    """One resource: a link to a path of the origin, or an uploaded file.

    :ivar before: the answer until the link was archived once: the link broke later
    :ivar host: another one than the origin's
    :ivar upload: the file's name, for a file that is put into CKAN; ``answer`` has its bytes
    """

    name: str
    format: str
    path: str
    answer: Answer
    description: str
    expected: Expected = OK
    before: Answer | None = None
    past: Past = Past()
    host: str = ""
    upload: str = ""

    def url(self, port: int) -> str:
        """The URL that is typed into the portal; empty for an upload."""
        return "" if self.upload else f"http://{self.host or '127.0.0.1'}:{port}{self.path}"


@dataclass(frozen=True)
class Dataset:
    """One dataset of the portal."""

    organization: str
    name: str
    title: str
    notes: str
    tags: tuple[str, ...]
    links: tuple[Link, ...]


def links() -> list[Link]:
    """All links of the portal."""
    return [link for dataset in DATASETS for link in dataset.links]


def answers(*, first: bool = False) -> Mapping[str, Callable[[Request], Answer]]:
    """What the origin server does, by path.

    :param first: before the portal has archived each link once
    """
    found = {link.path: (first and link.before) or link.answer for link in links() if link.path}
    found[_ROUTES_NOW] = _file("application/geo+json", samples.geojson("route", 24))
    return {path: revalidating(answer) for path, answer in found.items()}


def _file(content_type: str, body: bytes) -> Answer:
    return Answer(body, headers={"Content-Type": content_type})


def _page(title: str, text: str, status: int = 200) -> Answer:
    return Answer(samples.page(title, text), status, {"Content-Type": "text/html; charset=utf-8"})


def _error(status: int, title: str) -> Answer:
    return _page(title, "northshire.example", status)


_CSV, _XLSX = "text/csv; charset=utf-8", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_ROUTES_NOW = "/transport/v2/routes.geojson"

_MONTHS = ("January", "February", "March", "April", "May", "June")
_STOPS = samples.table(("id", "name", "longitude", "latitude"), samples.places("stop", 180))
_TIMES = samples.table(
    ("trip_id", "arrival_time", "stop_id"),
    [(f"trip-{i // 20}", f"{6 + i // 60:02d}:{i % 60:02d}:00", f"stop-{i % 180 + 1:03d}") for i in range(900)],
)


def _spending(year: int) -> bytes:
    return samples.table(
        ("date", "supplier", "department", "amount"),
        [
            (f"{year}-{i % 6 + 1:02d}-{i % 28 + 1:02d}", f"Supplier {i % 40}", "Highways", 500 + i * 37)
            for i in range(400)
        ],
    )


_AIR = samples.as_json(
    [{"station": f"air-{i % 8 + 1:03d}", "hour": f"2026-06-01T{i // 8:02d}:00", "no2": 18 + i % 23} for i in range(192)]
)

DATASETS = (
    Dataset(
        "northshire-council",
        "bus-stops-and-timetables",
        "Bus stops and timetables",
        "Every bus stop in Northshire, the routes that serve it, and when the buses leave.",
        ("transport", "buses"),
        (
            Link("Bus stops", "CSV", "/transport/bus-stops.csv", _file(_CSV, _STOPS), "One row per stop."),
            Link(
                "Bus shelters",
                "GeoJSON",
                "/transport/shelters.geojson",
                _file("application/geo+json", samples.geojson("shelter", 60)),
                "Points with the name of the stop.",
            ),
            Link(
                "Timetables (GTFS)",
                "ZIP",
                "/transport/gtfs.zip",
                _file("application/zip", samples.archive({"stops.txt": _STOPS, "stop_times.txt": _TIMES})),
                "The whole timetable for journey planners.",
            ),
            Link(
                "Bus routes",
                "GeoJSON",
                "/transport/routes.geojson",
                Answer(status=301, headers={"Location": _ROUTES_NOW}),
                "Moved for good to a new address.",
            ),
        ),
    ),
    Dataset(
        "northshire-environment-agency",
        "air-quality",
        "Air quality measurements",
        "Hourly measurements of nitrogen dioxide at eight stations.",
        ("environment", "air"),
        (
            Link(
                "Hourly measurements", "JSON", "/air/hourly.json", _file("application/json", _AIR), "The last 24 hours."
            ),
            Link(
                "Stations",
                "XLSX",
                "/air/stations.xlsx",
                _file(
                    _XLSX,
                    samples.workbook("Stations", [("id", "name", "longitude", "latitude"), *samples.places("air", 8)]),
                ),
                "Where the stations stand.",
            ),
            Link(
                "Annual report 2025",
                "PDF",
                "/air/annual-report-2025.pdf",
                _file("application/pdf", samples.pdf(["Air quality in Northshire", "Annual report 2025"])),
                "What the council did for cleaner air.",
            ),
            Link(
                "Live sensor feed",
                "JSON",
                "/air/live.json",
                Answer(delay=3600),
                "A server that takes the request and never answers.",
                Expected("failing", "unreachable"),
                past=Past(bad_days=(9, 23, 24, 51, 70)),
            ),
        ),
    ),
    Dataset(
        "northshire-council",
        "council-spending",
        "Council spending over £500",
        "Payments to suppliers of more than £500, published every month.",
        ("finance", "spending"),
        (
            Link(
                "Spending 2026", "CSV", "/finance/spending-2026.csv", _file(_CSV, _spending(2026)), "January to June."
            ),
            Link(
                "Spending 2025",
                "CSV",
                "/finance/spending-2025.csv",
                _error(410, "Gone"),
                "Taken down when the council's web site was replaced. The portal has a copy.",
                Expected("broken", "gone", cached=True),
                before=_file(_CSV, _spending(2025)),
                past=Past(failing_for=12, bad_days=(41, 42, 43)),
            ),
            Link(
                "Spending 2019",
                "CSV",
                "/finance/spending-2019.csv",
                _error(404, "Not found"),
                "An address with a typing error: it never worked.",
                Expected("broken", "gone"),
                past=Past(failing_for=90),
            ),
            Link(
                "Supplier codes",
                "CSV",
                "",
                _file(_CSV, samples.table(("code", "supplier"), [(i, f"Supplier {i}") for i in range(40)])),
                "A file that is kept in this portal.",
                upload="supplier-codes.csv",
            ),
        ),
    ),
    Dataset(
        "wexbridge-town-council",
        "planning-applications",
        "Planning applications",
        "Applications for planning permission and the decisions on them.",
        ("planning", "housing"),
        (
            Link(
                "Applications",
                "JSON",
                "/planning/applications.json",
                _error(500, "Internal server error"),
                "A server with a defect.",
                Expected("failing", "server-error"),
                past=Past(failing_for=1, bad_days=(30,)),
            ),
            Link(
                "Decisions",
                "CSV",
                "/planning/decisions.csv",
                _error(403, "Forbidden"),
                "A firewall that lets no programs in.",
                Expected("not-sure", "blocked"),
                past=Past(failing_for=90),
            ),
            Link(
                "Conservation areas",
                "CSV",
                "/planning/conservation-areas.csv",
                _page("Northshire Council", "Please choose a topic from the menu."),
                "A web page where a table was promised.",
                Expected("not-sure", "soft-404"),
                past=Past(failing_for=90),
            ),
        ),
    ),
    Dataset(
        "northshire-environment-agency",
        "aerial-photographs",
        "Aerial photographs 2025",
        "Photographs of the whole county from the air, at 25 cm a pixel.",
        ("maps", "photographs"),
        (
            Link(
                "Tile index",
                "GeoJSON",
                "/photos/tiles.geojson",
                _file("application/geo+json", samples.geojson("tile", 90)),
                "Which tile shows what.",
            ),
            Link(
                "All tiles",
                "ZIP",
                "/photos/all-tiles.zip",
                Answer(headers={"Content-Type": "application/zip", "Content-Length": "4812774400"}),
                "Larger than what is kept.",
                Expected("ok", "too-large"),
            ),
            Link(
                "How to read the tiles",
                "PDF",
                "/photos/guide.pdf",
                _file("application/pdf", samples.pdf(["Aerial photographs", "How to read the tiles"])),
                "Two pages.",
            ),
        ),
    ),
    Dataset(
        "wexbridge-town-council",
        "street-lights",
        "Street lights",
        "Street lights with their type and the month in which they were last looked after.",
        ("streets", "lighting"),
        (
            Link(
                "Street lights",
                "CSV",
                "/streets/lights.csv",
                _file(
                    _CSV,
                    samples.table(
                        ("id", "street", "checked"), [(i, samples.STREETS[i % 7], _MONTHS[i % 6]) for i in range(300)]
                    ),
                ),
                "One row per light.",
            ),
            # Also on loopback, so that no request can leave the machine; only 127.0.0.1 is allowed.
            Link(
                "Asset register",
                "XLSX",
                "/intranet/assets.xlsx",
                Answer(status=404),
                "A link into a private network.",
                Expected("not-sure", "refused-by-policy"),
                host="127.0.0.2",
            ),
        ),
    ),
)
