"""Which link of a dataset decides its state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ckanext.archiver.engine.outcome import Verdict

VERDICT_WEIGHT = {Verdict.OK: 0, Verdict.NOT_SURE: 1, Verdict.FAILING: 2, Verdict.BROKEN: 3}
"""The order in which the links of a dataset decide its state: the heaviest counts."""

WORST_VERDICT_SQL = "(ARRAY[{names}])[max(CASE a.verdict {cases} END)]".format(
    names=", ".join(f"'{verdict.value}'" for verdict in VERDICT_WEIGHT),
    cases=" ".join(f"WHEN '{verdict.value}' THEN {weight + 1}" for verdict, weight in VERDICT_WEIGHT.items()),
)
"""The heaviest verdict of a group of archivals ``a``."""


def verdict_of(verdict: str | None, is_broken: bool | None) -> Verdict:
    """The verdict of an archival; of a row that an older release or other code wrote, by ``is_broken``."""
    if verdict:
        return Verdict(verdict)
    return {True: Verdict.BROKEN, False: Verdict.OK}.get(is_broken, Verdict.NOT_SURE)  # type: ignore[arg-type]


def worst_archival(archivals: Iterable[Any]) -> Any:
    """The archival (or row of its columns) that decides the state of a dataset; the first of equals, None of none."""
    return max(archivals, key=_weight, default=None)


def _weight(archival: Any) -> tuple[int, int]:
    return VERDICT_WEIGHT[verdict_of(archival.verdict, archival.is_broken)], archival.status_id or 0
