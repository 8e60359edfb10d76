"""Checks of the broker, the workers and the libraries between them."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import redis

from ckanext.archiver import archive_root, clock, config, monitoring
from ckanext.archiver.doctor.finding import Finding, ok, problem, warning
from ckanext.archiver.doctor.status import current
from ckanext.archiver.options import without_password
from ckanext.archiver.queue import names, pauses, portals, sql
from ckanext.archiver.queue.types import Queue

REDIS_SECONDS = 2
"""Seconds that Redis may take to answer."""

OLDEST_REDIS = (5,)

EVICTING = ("allkeys-lru", "allkeys-lfu", "allkeys-random")
"""Policies by which Redis removes any key, messages too, when its memory is full. With the ``volatile-`` ones it
removes only keys that expire, which messages do not."""

DISPATCH_SECONDS = 300
"""Seconds for which nothing may be sent of what is due; a worker dispatches several times a second."""

FITTING = {
    # redis-py's major version: (celery and kombu must be at least, and below)
    8: ((5, 7), (5, 8)),
    5: ((5, 6), (5, 7)),
}
"""Which releases of Celery and kombu fit the redis-py that CKAN pins: kombu checks it when it connects."""


def broker() -> Iterator[Finding]:
    """Whether the broker answers, and keeps what it gets."""
    error = monitoring.broker_error()
    shown = without_password(config.broker_url())
    if error:
        polling = monitoring.polling_workers()
        until_then = f"Until it does, {monitoring.take(polling)}" if polling else "Requests wait in the database"
        yield problem(
            f"{error.what}. Its URL is {shown}. {until_then}.",
            error.remedy or f"Start the broker, or correct {config.broker_option()}.",
        )
        return
    neighbours = names.neighbours()
    yield from _portals(neighbours)
    client = _redis()
    if client is None:
        yield ok(f"The broker {shown} answers.")
        return
    with client:
        info = client.info()
        version = str(info.get("redis_version", "?"))
        yield ok(f"The broker {shown} answers (Redis protocol {version}).")
        if _numbers(version) < OLDEST_REDIS:
            yield warning(f"Redis {version} is too old.", "Upgrade Redis to release 6 or later.")
        policy = info.get("maxmemory_policy")
        if info.get("maxmemory") and policy in EVICTING:
            yield warning(
                f"When its memory is full, Redis removes messages (maxmemory-policy {policy}). They are sent again "
                "from the database, minutes later.",
                "maxmemory-policy noeviction in redis.conf",
            )
        yield from _other_ckans(client, neighbours)
        yield from _rq_jobs(client)


def _redis() -> redis.Redis | None:
    """A client of the broker, None where that is not Redis by a plain URL."""
    url = config.broker_url()
    if not url.startswith(("redis://", "rediss://")):
        return None
    return redis.Redis.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)


def _rq_queues(client: Any) -> list[str]:
    """The names of RQ's queues in this Redis database. CKAN names its own ``ckan:<site id>:<queue>``."""
    return sorted(name.decode("utf-8", "replace") for name in client.smembers("rq:queues"))


def _portals(found: Sequence[portals.Neighbour]) -> Iterator[Finding]:
    """The portals whose archivers use the same Redis database."""
    if not found:
        return
    said = "; ".join(f"{one.site_url} with the queues {one.prefix}priority and {one.prefix}bulk" for one in found)
    own = " and ".join(names.all_at_broker().values())
    yield warning(
        f"The same Redis database is used by {monitoring.counted(len(found), 'other portal')}: {said}. This portal's "
        f"queues are {own}. No portal takes another's messages; FLUSHDB and a full memory concern all, and "
        "after FLUSHDB their queues may have other names.",
        f"Give each portal a database of its own: {config.broker_option()} = redis://localhost:6379/1",
    )
    same = [one.site_url for one in found if one.site_id == config.site_id()]
    if same and config.broker_url() == tk.config.get("ckan.redis.url"):
        yield problem(
            f"{', '.join(same)} has the same ckan.site_id ({config.site_id()}) and the same Redis database: CKAN's own "
            "background jobs of one portal run in the other.",
            "Give each portal a database of its own: ckan.redis.url = redis://localhost:6379/1",
        )


def _other_ckans(client: Any, neighbours: Sequence[portals.Neighbour]) -> Iterator[Finding]:
    """Portals whose background jobs are here, and whose archivers have not said so."""
    known = {config.site_id(), *(one.site_id for one in neighbours)}
    found = (re.fullmatch(r"rq:queue:ckan:(.+):[^:]+", name) for name in _rq_queues(client))
    others = sorted({match[1] for match in found if match and match[1] not in known})
    if others:
        yield warning(
            f"Another portal uses the same Redis database (ckan.site_id = {', '.join(others)}).",
            "Give each portal a database of its own: ckan.redis.url = redis://localhost:6379/1",
        )


def _rq_jobs(client: Any) -> Iterator[Finding]:
    own = tk.config.get("ckan.site_id")
    for queue in Queue:
        jobs = client.llen(f"rq:queue:ckan:{own}:{queue}")
        if jobs:
            yield warning(
                f"{jobs:,} RQ jobs of an older release wait on queue {queue}. This release does not use RQ.",
                f"ckan jobs clear {queue}",
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def versions() -> Iterator[Finding]:
    """Whether Celery, kombu and redis-py fit each other."""
    found = {name: importlib.metadata.version(name) for name in ("celery", "kombu", "redis")}
    said = ", ".join(f"{name} {version}" for name, version in found.items())
    fitting = FITTING.get(_numbers(found["redis"])[0])
    if fitting is None:
        yield warning(
            f"{said}: no release of CKAN that is supported pins this redis-py.",
            "pip install 'redis==…' as CKAN's requirements.txt says.",
        )
        return
    low, high = fitting
    extra = "ckan-2-12" if low == (5, 7) else "ckan-2-11"
    for name in ("celery", "kombu"):
        if not low <= _numbers(found[name])[:2] < high:
            yield problem(
                f"{said}: {name} does not fit this redis-py.",
                f"pip install 'ckanext-archiver[{extra}]'",
            )
            return
    yield ok(f"{said} fit each other.")


def workers() -> Iterator[Finding]:
    """Whether every queue has a worker, and messages reach it."""
    status = current()
    without = status["queues_without_worker"]
    for queue in without:
        waiting = status["queues"][queue]["waiting"]
        yield problem(
            f"No worker reads the queue {queue}; waiting: {monitoring.counted(waiting, 'request')}.",
            f"ckan archiver worker --queue {queue}",
        )
    for queue in Queue:
        oldest = status["queues"][queue]["oldest_wait_seconds"]
        if queue == Queue.PRIORITY and queue not in without and oldest > 600:
            yield warning(
                f"The oldest request on {queue} has waited for {monitoring.duration(oldest)}.", "ckan archiver status"
            )
    silent = sql.run(
        "SELECT extract(epoch FROM now() - max(seen_at)) FROM archiver_worker HAVING max(seen_at) IS NOT NULL"
    ).scalar()
    if len(without) == len(Queue) and silent is not None:
        yield warning(
            f"The last worker was seen {monitoring.duration(float(silent))} ago.",
            "Look at its log; a supervisor should start it again.",
        )
    if not without:
        yield ok("Every queue has a worker.")
        yield from _dispatch(status["queues"][Queue.BULK])
    if status["set_aside"]:
        yield warning(
            f"{status['set_aside']:,} links are set aside because their workers died.",
            "ckan archiver update RESOURCE tries one again; the workers' logs have its id.",
        )
    held = status["held"]
    if held.get("outage_suspected"):
        yield problem(
            f"Verdicts are held: {held['hosts_failed']} of {held['hosts_seen']} hosts fail at once.",
            "Look for a fault of this machine's network, name server or proxy.",
        )


def _dispatch(bulk: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the workers send messages for what is due."""
    longest = sql.run(f"""
        SELECT extract(epoch FROM now() - min(bulk_at)) FROM archiver_host h
        WHERE bulk_at < now() AND NOT {sql.is_paused("'bulk'", "h.host")}
    """).scalar()  # noqa: S608 - constants only
    if longest is not None and longest > DISPATCH_SECONDS and bulk["in_broker"] == 0 and not bulk["running"]:
        yield problem(
            f"Requests are due for {monitoring.duration(float(longest))}, and no message was sent for them: no worker "
            "dispatches.",
            "Restart the workers; their logs say what stopped them.",
        )


LONG_PAUSE = 24 * 3600
"""Seconds after which a pause may have been forgotten."""


def paused() -> Iterator[Finding]:
    """Whether an operator has paused anything, and perhaps forgotten it."""
    found = pauses.current()
    old = clock.utc() - timedelta(seconds=LONG_PAUSE)
    for pause in found:
        long = ": for longer than a day" if pause.paused_at < old else ""
        yield warning(f"{pause.sentence()}{long}.", f"ckan archiver resume{pause.options}")
    if not found:
        yield ok("Nothing is paused.")


def as_root() -> Iterator[Finding]:
    """Whether this command runs as the user of the workers."""
    if os.geteuid() == 0:
        user, ckan = archive_root.owner(config.archive_dir()), Path(sys.executable).with_name("ckan")
        yield warning(
            "This command runs as root, so it cannot tell what the workers' user may read and write.",
            f"sudo -u {user} {ckan} -c {tk.config['__file__']} archiver doctor",
        )
    else:
        yield ok("This command runs as an ordinary user.")


CHECKS = {"user": as_root, "libraries": versions, "broker": broker, "workers": workers, "pauses": paused}
