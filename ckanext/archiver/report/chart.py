"""Charts as the places of lines and bars; the templates draw them as SVG, with the numbers in a table beside them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from ckanext.archiver.report.counts import Day

WIDTH, HEIGHT = 640, 160
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 22

ROWS = 100
"""Days in the table beside the chart; of more, every so many."""

STEPS = (0.5, 1, 2, 5, 10, 20, 50, 100)
"""Possible tops of the scale, in per cent."""


@dataclass(frozen=True)
class Line:
    """The share of broken links over time.

    :ivar points: of an SVG ``polyline``
    :ivar area: of a ``polygon`` below it
    :ivar marks: ``(y, per cent)`` of the horizontal lines
    :ivar days: ``(x, day)`` below the axis
    :ivar table: the same as rows: day, links, broken, per cent
    """

    points: str
    area: str
    marks: list[tuple[float, float]]
    days: list[tuple[float, datetime.date]]
    table: list[tuple[datetime.date, int, int, float]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT


def share(days: Sequence[Day]) -> Line | None:
    """The line of the share of broken links; None of fewer than two days."""
    if len(days) < 2:
        return None
    first, span = days[0].day, (days[-1].day - days[0].day).days or 1
    shares = [100 * day.broken / day.links for day in days]
    top = next((step for step in STEPS if step >= max(shares)), 100)
    floor = HEIGHT - BOTTOM

    def x(day: datetime.date) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (day - first).days / span, 1)

    def y(value: float) -> float:
        return round(floor - (floor - TOP) * value / top, 1)

    places = [(x(day.day), y(value)) for day, value in zip(days, shares, strict=True)]
    points = " ".join(f"{px},{py}" for px, py in places)
    shown = [days[0].day, *([first + datetime.timedelta(days=span // 2)] if span > 2 else []), days[-1].day]
    step = -(-len(days) // ROWS)
    table = [(day.day, day.links, day.broken, round(value, 1)) for day, value in zip(days, shares, strict=True)]
    return Line(
        points=points,
        area=f"{places[0][0]},{floor} {points} {places[-1][0]},{floor}",
        marks=[(y(top * part / 2), top * part / 2) for part in range(3)],
        days=[(x(day), day) for day in shown],
        table=table[::-1][::step],
    )
