"""What is taken back from workers that died, and messages that the broker lost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from ckan.lib.redis import connect_to_redis

from ckanext.archiver.queue import dispatch, recovery
from rows import put, run

pytestmark = pytest.mark.usefixtures("clean_site")


def worker(worker_id: str, pid: int, seen: int, hostname: str = "") -> None:
    run(
        "INSERT INTO archiver_worker (worker_id, hostname, pid, queues, seen_at) "
        "VALUES (:id, :hostname, :pid, 'bulk', now() - :seen * interval '1 second')",
        id=worker_id,
        hostname=hostname or socket.gethostname(),
        pid=pid,
        seen=seen,
    )
    run(
        "INSERT INTO archiver_request (resource_id, package_id, queue, host, reason, lease_token, leased_by, "
        "leased_until) VALUES (:id, 'p', 'bulk', '', 'round', :id, :id, now() + interval '10 minutes')",
        id=worker_id,
    )


def taken() -> set[str]:
    recovery.release_leases_of_the_dead()
    return {id_ for (id_,) in run("SELECT resource_id FROM archiver_request WHERE lease_token IS NULL AND deaths = 1")}


@pytest.fixture
def gone() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_silent_workers_are_dead_and_living_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_may_judge", lambda: False)
    worker("alive", os.getpid(), 3)
    worker("elsewhere", 1, 20, "another machine")
    worker("silent", 1, 31, "another machine")
    assert taken() == set(), "perhaps no heartbeat could be written"
    monkeypatch.setattr(recovery, "_may_judge", lambda: True)
    assert taken() == {"silent"}


def test_a_worker_of_this_machine_whose_process_is_gone_is_not_waited_for(gone: int) -> None:
    worker("gone", gone, 11)
    worker("just-now", gone, 2)
    worker("slow", os.getpid(), 11)
    worker("elsewhere", gone, 11, "another machine")
    assert taken() == {"gone"}
    assert {id_ for (id_,) in run("SELECT worker_id FROM archiver_worker")} == {
        "just-now",
        "slow",
        "elsewhere",
    }


def test_a_worker_that_signs_off_releases_its_requests_without_a_death() -> None:
    worker("w", os.getpid(), 0)
    recovery.deregister("w")
    assert run("SELECT lease_token, deaths FROM archiver_request") == [(None, 0)]
    assert run("SELECT 1 FROM archiver_worker") == []


def test_messages_of_an_emptied_broker_are_sent_again() -> None:
    for number in range(20):
        put(f"h{number}.example")
    assert dispatch.tick() == 20
    run("UPDATE archiver_request SET sent_until = sent_until - interval '11 seconds'")
    assert recovery.forget_lost_messages() == 0, "they are there"
    connect_to_redis().flushdb()
    assert recovery.forget_lost_messages() == 20
    run("UPDATE archiver_host SET bulk_at = now(), next_at = now()")
    assert dispatch.tick() == 20


def test_old_history_is_forgotten() -> None:
    run(
        "INSERT INTO archival_check (resource_id, checked_at, verdict, cause) VALUES "
        "('old', timezone('utc', now()) - interval '401 days', 'ok', 'ok'), "
        "('new', timezone('utc', now()) - interval '399 days', 'ok', 'ok')"
    )
    recovery.delete_old_checks()
    assert run("SELECT resource_id FROM archival_check") == [("new",)]
