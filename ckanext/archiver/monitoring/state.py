"""The state, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckan import model

from ckanext.archiver import archive_root, clock, config, counters, retention
from ckanext.archiver.engine import store
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.monitoring import pauses
from ckanext.archiver.queue import broker, hosts, names, rounds, sql
from ckanext.archiver.queue.types import Queue

Status = dict[str, Any]

RATE_MINUTES = 10
"""Minutes over which the rate of checks is measured."""

HOSTS_SHOWN = 20

BROKER_SECONDS = 2
"""Seconds that the broker may take to answer."""


def collect() -> Status:
    """The whole state, as plain data. Times are ISO 8601 with an offset, durations seconds, sizes bytes.

    At 1,000,000 resources it takes about a second, since it counts them.
    """
    # Asked before the transaction begins: a broker that hangs must not hold it.
    broker_ = _broker()
    at_broker = names.all_at_broker()
    queues = {queue: {**numbers, "broker_queue": at_broker[queue]} for queue, numbers in _queues().items()}
    if not broker_["answers"]:
        # The table has what was sent. Whether the broker still holds it is unknown.
        queues = {queue: {**numbers, "in_broker": None} for queue, numbers in queues.items()}
    paused = pauses.current()
    pauses.leave_out_of_waits(paused, queues)
    rate, busy_rate = _rates()
    links = _links()
    status = {
        "time": clock.utc().isoformat(),
        "pauses": paused,
        "queues": queues,
        "rate_per_second": rate,
        "round": {**rounds.bookkeeping(), "eta_seconds": _eta(queues[Queue.BULK], busy_rate)},
        "hosts_paused": _paused(),
        "broker": {**broker_, "workers_polling": polling_workers()},
        "workers": _workers(),
        "held": _held(),
        "links": links["verdicts"],
        "set_aside": links["set_aside"],
        "disk": {
            "used_bytes": links["bytes"],
            "copies": links["copies"],
            "full_quotas": retention.full_quotas(),
            **_disk(),
        },
        "notices_waiting": number("SELECT count(*) FROM archiver_notice"),
        "subscriber_failures": number(
            "SELECT CAST(value AS int) FROM archiver_state WHERE key = 'subscriber_failures'"
        ),
        "datasets_to_index": number("SELECT count(*) FROM archiver_dataset WHERE facet IS DISTINCT FROM indexed_facet"),
        "database": _database(),
    }
    status["queues_without_worker"] = [
        queue for queue in Queue if not any(queue in worker["queues"] for worker in status["workers"])
    ]
    model.Session.rollback()
    return status


def totals() -> dict[counters.Sample, float]:
    """What all workers have counted."""
    found = {(row.name, row.labels): row.value for row in sql.run("SELECT name, labels, value FROM archiver_counter")}
    model.Session.rollback()
    return found


def _rows(statement: str, **params: Any) -> list[Mapping[str, Any]]:
    return list(sql.run(statement, **params).mappings())


def number(statement: str, **params: Any) -> int:
    """The whole number that a statement selects; 0 for none."""
    return int(sql.run(statement, **params).scalar() or 0)


def _iso(moment: Any) -> str | None:
    return moment.isoformat() if moment is not None else None


def _queues() -> dict[str, Status]:
    rows = {
        row["queue"]: row
        for row in _rows("""
        SELECT queue, count(*) FILTER (WHERE lease_token IS NULL) AS waiting,
            count(*) FILTER (WHERE lease_token IS NOT NULL) AS running,
            count(*) FILTER (WHERE lease_token IS NULL AND sent_until > now()) AS sent,
            extract(epoch FROM now() - min(requested_at) FILTER (WHERE lease_token IS NULL)) AS oldest
        FROM archiver_request GROUP BY queue
    """)
    }
    return {
        queue: {
            "waiting": rows[queue]["waiting"] if queue in rows else 0,
            "running": rows[queue]["running"] if queue in rows else 0,
            "in_broker": rows[queue]["sent"] if queue in rows else 0,
            "oldest_wait_seconds": round(float(rows[queue]["oldest"] or 0), 1) if queue in rows else 0.0,
        }
        for queue in Queue
    }


def _rates() -> tuple[float, float]:
    """Links checked per second in the last minutes: until now, and until the last check, after which there may have
    been nothing to do."""
    (row,) = _rows(
        """
        SELECT count(*) AS checks, extract(epoch FROM timezone('utc', now()) - min(checked_at)) AS until_now,
            extract(epoch FROM max(checked_at) - min(checked_at)) AS until_last
        FROM archival_check WHERE checked_at > timezone('utc', now()) - :minutes * interval '1 minute'
        """,
        minutes=RATE_MINUTES,
    )
    until_now, until_last = (max(float(row[name] or 0), 10.0) for name in ("until_now", "until_last"))
    return round(row["checks"] / until_now, 2), round(row["checks"] / until_last, 2)


def eta() -> int | None:
    """Seconds until the queue ``bulk`` is empty, None when that cannot be estimated."""
    seconds = _eta(_queues()[Queue.BULK], _rates()[1])
    model.Session.rollback()
    return seconds


def _eta(bulk: Status, rate: float) -> int | None:
    """Seconds until the round is done at the rate of late, and no fewer than its largest host needs."""
    left = bulk["waiting"] + bulk["running"]
    if not left:
        return 0
    if not rate:
        return None
    largest = number("""
        SELECT max(number) FROM (
            SELECT count(*) AS number FROM archiver_request WHERE queue = 'bulk' AND host <> '' GROUP BY host) AS hosts
    """)
    at_pace = largest * config.host_interval() / max(config.host_concurrency(), 1)
    return round(max(left / rate, at_pace))


def _paused() -> Status:
    paused = """
        FROM archiver_host h WHERE open_until > now() OR next_at > now() + interval '10 seconds'
    """
    shown = _rows(
        f"""
        SELECT h.host, h.open_until > now() AS is_open, h.failing_since,
            CASE WHEN h.open_until > now() THEN h.open_until ELSE h.next_at END AS until,
            (SELECT count(*) FROM archiver_request r WHERE r.host = h.host) AS waiting
        {paused} ORDER BY waiting DESC, h.host LIMIT :shown
        """,  # noqa: S608 - constants only
        shown=HOSTS_SHOWN,
    )
    return {
        "count": number(f"SELECT count(*) {paused}"),  # noqa: S608 - constants only
        "hosts": [
            {
                "host": row["host"],
                "why": "not-responding" if row["is_open"] else "asked-to-wait",
                "since": _iso(row["failing_since"]) if row["is_open"] else None,
                "until": _iso(row["until"]),
                "waiting": row["waiting"],
            }
            for row in shown
        ],
    }


def polling_workers() -> int:
    """How many workers take requests from the table, because the broker is away."""
    polling = f"SELECT count(*) FROM archiver_worker w WHERE polls_since IS NOT NULL AND {sql.WORKER_IS_ALIVE}"  # noqa: S608
    return number(polling, dead=config.worker_dead_seconds())


def _database() -> Status:
    """How much the queue's tables hold that is dead, and who keeps it: no row that died while a transaction was open
    can be removed before that ends."""
    dead = """
        SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE relname IN ('archiver_request', 'archiver_host')
    """
    oldest = """
        SELECT extract(epoch FROM max(now() - xact_start)) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
    """
    return {"dead_rows": number(dead), "oldest_transaction_seconds": number(oldest)}


def _workers() -> list[Status]:
    alive = _rows(
        f"""
        SELECT hostname, pid, queues, started_at, seen_at FROM archiver_worker w
        WHERE {sql.WORKER_IS_ALIVE} ORDER BY hostname, pid
        """,  # noqa: S608 - constants only
        dead=config.worker_dead_seconds(),
    )
    return [
        {
            "hostname": row["hostname"],
            "pid": row["pid"],
            "queues": row["queues"].split(","),
            "started_at": _iso(row["started_at"]),
            "seen_at": _iso(row["seen_at"]),
        }
        for row in alive
    ]


def _broker() -> Status:
    error = broker_error()
    return {"answers": error is None, "error": str(error) if error else None}


def broker_error() -> BrokerError | None:
    """Why the broker cannot be used, None when it answers."""
    connection = broker.connect(timeout=BROKER_SECONDS)
    try:
        broker.probe(connection)
    except BrokerError as e:
        return e
    finally:
        connection.release()
    return None


def _held() -> Status:
    reasons = _rows("SELECT held, count(*) AS number FROM archiver_request WHERE held IS NOT NULL GROUP BY held")
    outage = hosts.check_outage()
    return {
        "count": sum(row["number"] for row in reasons),
        "reasons": {row["held"]: row["number"] for row in reasons},
        "outage_suspected": outage.is_outage,
        # The name of the releases before 3.0; removed in 3.1.
        "guard": outage.is_outage,
        "hosts_seen": outage.seen,
        "hosts_failed": outage.failed,
    }


def _links() -> Status:
    rows = _rows("""
        SELECT coalesce(a.verdict, 'unknown') AS verdict, count(*) AS number,
            count(*) FILTER (WHERE a.cache_filepath <> '') AS copies,
            coalesce(sum(a.size) FILTER (WHERE a.cache_filepath <> ''), 0) AS bytes,
            count(*) FILTER (WHERE a.detail = 'poison') AS set_aside
        FROM archival a GROUP BY 1
    """)
    return {
        "verdicts": {row["verdict"]: row["number"] for row in rows},
        "copies": sum(row["copies"] for row in rows),
        "bytes": int(sum(row["bytes"] for row in rows)),
        "set_aside": sum(row["set_aside"] for row in rows),
    }


def _disk() -> Status:
    archive_dir = config.archive_dir()
    if archive_dir is None:
        return {"free_bytes": None, "enough": True}
    # The archive directory is made when it is first needed; the part of its path that exists must be a directory.
    if not archive_root.has_sentinel(archive_dir) and archive_root.lacks_its_copies(archive_dir):
        error = (
            f"none of the recorded copies is in {archive_dir}: is it mounted? "
            "If the copies are lost, run: ckan archiver init"
        )
        return {"free_bytes": None, "enough": False, "error": error}
    existing = next(path for path in (Path(archive_dir), *Path(archive_dir).parents) if path.exists())
    if not existing.is_dir():
        return {"free_bytes": None, "enough": False, "error": f"{existing} is not a directory"}
    if archive_root.is_read_only(archive_dir):
        return {"free_bytes": None, "enough": False, "error": f"{archive_dir} is mounted read-only"}
    try:
        free = store.free_bytes(archive_dir)
    except OSError as e:
        return {"free_bytes": None, "enough": False, "error": str(e)}
    return {"free_bytes": free, "enough": free >= config.min_free_bytes()}
