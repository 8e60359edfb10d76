"""``ckan archiver doctor``: finds out why links are not archived, and says what mends it.

Each check is a function that yields findings. A check that crashes is a finding of its own and stops no other. A
finding may bring a ``fix``: something safe that mends it, which ``--fix`` does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from ckan import model

from ckanext.archiver.doctor import connections, database, network, portal, queues, status, storage
from ckanext.archiver.doctor.finding import Finding, Level, problem, warning
from ckanext.archiver.errors import MISSING

__all__ = ["CHECKS", "Finding", "Level", "Report", "run"]

log = logging.getLogger(__name__)

Check = Callable[[], Iterable[Finding]]

CHECKS: dict[str, Check] = {
    **portal.CHECKS,
    **database.CHECKS,
    **connections.CHECKS,
    **queues.CHECKS,
    **storage.CHECKS,
    **network.CHECKS,
}
"""Every check by its name, in the order in which they run."""


class Outcome(str, Enum):
    """What ``--fix`` came to."""

    NOT_TRIED = ""
    FIXED = "fixed"
    FAILED = "failed"

    __str__ = str.__str__


@dataclass(frozen=True)
class Report:
    """A finding, with the name of its check.

    :ivar fixed: "fixed" where ``--fix`` mended it, "failed" where it could not, else empty
    """

    check: str
    level: Level
    message: str
    remedy: str = ""
    fixed: Outcome = field(default=Outcome.NOT_TRIED)


def run(*, fix: bool = False, checks: dict[str, Check] | None = None) -> Iterator[Report]:
    """Run every check, one after the other.

    :param fix: also mend what can be mended safely
    :returns: at least one report for each check
    """
    status.forget()
    for name, check in (CHECKS if checks is None else checks).items():
        for finding in _findings(name, check):
            outcome = _fix(finding) if fix and finding.fix is not None else Outcome.NOT_TRIED
            level = Level.OK if outcome is Outcome.FIXED else finding.level
            yield Report(name, level, finding.message, finding.remedy, outcome)


def _findings(name: str, check: Check) -> list[Finding]:
    try:
        return list(check())
    except Exception as e:
        # The next check runs all the same; the traceback is for a report of the defect.
        log.debug("The check %s failed", name, exc_info=True)
        if getattr(getattr(e, "orig", None), "pgcode", None) in MISSING:
            return [warning("Not checked: it needs a table or a column that is missing.", "ckan archiver init")]
        reason = (str(e).strip() or "no reason was given").splitlines()[0]
        return [
            problem(
                f"This check could not be made: {type(e).__name__}: {reason}", "Mend that first, then run it again."
            )
        ]
    finally:
        model.Session.rollback()


def _fix(finding: Finding) -> Outcome:
    if finding.fix is None:
        return Outcome.NOT_TRIED
    try:
        finding.fix()
    except Exception as e:  # noqa: BLE001 - said beside the finding, whose remedy is still to be done by hand
        log.warning("Could not fix: %s (%s)", finding.message, e)
        return Outcome.FAILED
    finally:
        model.Session.rollback()
    return Outcome.FIXED
