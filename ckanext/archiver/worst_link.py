"""Which link of a dataset decides its state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ckanext.archiver.engine.outcome import Verdict

VERDICT_WEIGHT = {Verdict.OK: 0, Verdict.NOT_SURE: 1, Verdict.FAILING: 2, Verdict.BROKEN: 3}
"""The order in which the links of a dataset decide its state: the heaviest counts."""

VERDICT_SQL = """CASE WHEN a.is_broken THEN 'broken' WHEN NOT a.is_broken THEN 'ok'
    WHEN a.verdict = 'failing' THEN 'failing'
    WHEN a.verdict IS NOT NULL OR a.status_id IS NOT NULL THEN 'not-sure' END"""
"""The verdict of an archival ``a``, as :func:`verdict_of`; NULL where nothing is known."""

WORST_VERDICT_SQL = "(ARRAY[{names}])[max(CASE {verdict} {cases} END)]".format(
    names=", ".join(f"'{verdict.value}'" for verdict in VERDICT_WEIGHT),
    verdict=VERDICT_SQL,
    cases=" ".join(f"WHEN '{verdict.value}' THEN {weight + 1}" for verdict, weight in VERDICT_WEIGHT.items()),
)
"""The heaviest verdict of a group of archivals ``a``."""

COPY = "+copy"
"""Follows the verdict in ``archiver_dataset.facet`` where a link of the dataset has a cached copy."""

FACET_SQL = f"{WORST_VERDICT_SQL} || CASE WHEN bool_or(a.cache_filepath <> '') THEN '{COPY}' ELSE '' END"
"""What the search index is to know of a dataset, of its archivals ``a``."""

WITHOUT_COPY_SQL = f"""
    UPDATE archiver_dataset d SET facet = replace(facet, '{COPY}', '')
    WHERE facet LIKE '%{COPY}'
        AND NOT EXISTS (SELECT FROM archival a WHERE a.package_id = d.package_id AND a.cache_filepath <> '')
"""  # noqa: S608 - constants only
"""Notes the datasets that have lost their last copy."""


def verdict_of(verdict: str | None, is_broken: bool | None) -> Verdict:
    """The verdict of an archival. Where the two disagree, ``is_broken`` counts: code for older releases
    writes only it.
    """
    known = Verdict(verdict) if verdict else Verdict.NOT_SURE
    if known.is_broken == is_broken:
        return known
    return {True: Verdict.BROKEN, False: Verdict.OK}.get(is_broken, Verdict.NOT_SURE)  # type: ignore[arg-type]


def worst_archival(archivals: Iterable[Any]) -> Any:
    """The archival (or row of its columns) that decides the state of a dataset; the first of equals, None of none."""
    return max(archivals, key=_weight, default=None)


def _weight(archival: Any) -> tuple[int, int]:
    return VERDICT_WEIGHT[verdict_of(archival.verdict, archival.is_broken)], archival.status_id or 0
