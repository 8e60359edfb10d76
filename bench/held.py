"""A round while another session holds a transaction open: what died since then cannot be vacuumed."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from enqueue import boot, p99, timed
from portal import Site, broker, parser, report

CLAIMED_TOGETHER = 50


class Round:
    """A round without downloads: ticks, their messages, claims and ends of requests, one after the other."""

    def __init__(self, site: Site, resources: int, hosts: int) -> None:
        from ckanext.archiver.queue import broker as messages

        self.site, self.resources = site, resources
        self.ticks: list[float] = []
        self.sent: list[str] = []
        self._url = f"'http://host-' || n % {hosts} || '.example/' || n || '.csv'"
        self._send = messages.send
        messages.send = self._record  # type: ignore[assignment]

    def _record(self, connection: Any, resource_ids: Any, queue: str, **how: Any) -> int:
        self.sent += resource_ids
        return self._send(connection, resource_ids, queue, **how)

    def put(self) -> None:
        """Put all requests."""
        self.site.wipe()
        self.site.fill(self.resources, self._url)
        self.site.ckan("archiver", "update").wait()

    def run(self) -> float:
        """Send and end them; returns requests per second."""
        from ckan import model

        from ckanext.archiver.queue import dispatch

        self.ticks.clear()
        started = time.monotonic()
        done = 0
        while done < self.resources:
            self.sent.clear()
            self.ticks.append(timed(dispatch.tick_bulk))
            model.Session.remove()
            if not self.sent:
                self.site.sql("UPDATE archiver_host SET bulk_at = now() WHERE bulk_at > now()")
            for start in range(0, len(self.sent), CLAIMED_TOGETHER):
                done += self._end(self.sent[start : start + CLAIMED_TOGETHER])
            broker().delete("bulk")
        return done / (time.monotonic() - started)

    def _end(self, resource_ids: list[str]) -> int:
        from ckanext.archiver.engine.outcome import Cause, Outcome
        from ckanext.archiver.queue import claims, hosts, leases, sql

        outcome = Outcome(Cause.OK, "ok", requests=1, seconds=0.1)
        with sql.transaction():
            found = claims.claim([claims.Message(one, "bulk") for one in resource_ids], "bench")
        taken = [claim for claim in found if isinstance(claim, claims.Claim)]
        with sql.transaction():
            hosts.leave([hosts.HostObservation(claim.host, outcome) for claim in taken])
            ended = claims.finish(taken)
        for claim in taken:
            leases.discard(claim.token)
        return len(ended)


@contextmanager
def transaction_held(site: Site) -> Iterator[None]:
    """Another session, which reads once and holds its transaction open, as a harvest does."""
    connection = site.engine.connect().execution_options(isolation_level="REPEATABLE READ")
    with connection, connection.begin():
        connection.exec_driver_sql("SELECT 1")
        yield


def dead_rows(site: Site) -> int:
    """Dead rows of the queue's tables."""
    tables = "('archiver_request', 'archiver_host')"
    return int(site.value(f"SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE relname IN {tables}"))


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--resources", type=int, default=1_000_000)
    arguments.add_argument("--hosts", type=int, default=5_000)
    options = arguments.parse_args()
    site = Site({"ckanext-archiver.host_interval": "0", "ckanext-archiver.host_concurrency": "0"})
    boot(site)
    one_round = Round(site, options.resources, options.hosts)
    one_round.put()
    rate, ticks = one_round.run(), list(one_round.ticks)
    one_round.put()
    with transaction_held(site):
        held_rate = one_round.run()
        time.sleep(2)  # for the statistics of the server
        dead = dead_rows(site)
    held = one_round.ticks
    rows = [
        ("requests ended without a transaction held", rate, "/s", "", None),
        ("the same with one held", held_rate, "/s", f">= {0.8 * rate:.0f} (80 %)", held_rate >= 0.8 * rate),
        ("tick without, p99", p99(ticks), "ms", "", None),
        ("tick with one held, median", statistics.median(held) * 1000, "ms", "", None),
        ("tick with one held, p99", p99(held), "ms", "<= 400", p99(held) <= 400),
        ("dead rows at its end", dead, "", "", None),
    ]
    title = f"a round of {options.resources} requests over {options.hosts} hosts beside an open transaction"
    return report(title, rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
