"""Two portals that share a broker, and many host names that share a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from ckan import model

from ckanext.archiver import monitoring
from ckanext.archiver.queue import names, portals
from origin_server import Answer, Request
from world import World, check_invariants


@pytest.fixture(autouse=True)
def forget_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers the names for a minute; here each test is a portal of its own."""
    monkeypatch.setattr(names, "_known", None)
    monkeypatch.setattr(names, "_read_by_worker", None)


def _portal(client: Any, prefix: str = "") -> None:
    """Another portal has these names."""
    client.set(portals.KEY + prefix, "another portal")


def test_a_portal_alone_has_the_plain_names(clean_site: None, broker: Any) -> None:
    assert names.at_broker("bulk") == "bulk"
    status = monitoring.collect()
    assert status["queues"]["bulk"]["broker_queue"] == "bulk"
    assert any("(bulk)" in line for line in monitoring.lines(status))


def test_a_portal_beside_another_has_its_site_id_in_front(clean_site: None, broker: Any) -> None:
    _portal(redis.Redis(port=broker.port))
    assert names.at_broker("bulk") == "archiver-test.bulk"
    assert monitoring.collect()["queues"]["bulk"]["broker_queue"] == "archiver-test.bulk"


def test_two_portals_with_one_site_id_still_differ(clean_site: None, broker: Any) -> None:
    client = redis.Redis(port=broker.port)
    _portal(client)
    _portal(client, "archiver-test.")
    assert names.at_broker("bulk").startswith("archiver-test-")


def test_no_transaction_is_open_while_the_broker_hangs(
    clean_site: None, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portals, "CONNECT_SECONDS", 2)
    transactions = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'idle in transaction' AND query LIKE '%archiver_state%'
    """
    broker.pause()
    asking = threading.Thread(target=names.prefix)
    asking.start()
    try:
        time.sleep(1)
        with model.meta.engine.connect() as connection:
            found = connection.execute(sa.text(transactions)).scalar()
        assert asking.is_alive(), "it waits for the broker"
    finally:
        broker.resume()
        asking.join()
    assert found == 0


def test_a_flushed_broker_changes_no_names(clean_site: None, broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = redis.Redis(port=broker.port)
    _portal(client)
    assert names.of_worker() == "archiver-test."
    client.flushall()
    monkeypatch.setattr(names, "_known", None)
    assert names.at_broker("bulk") == "archiver-test.bulk"
    # Another one took this portal's names while there was no key.
    client.set(portals.KEY + "archiver-test.", "a third portal")
    assert not names.keep()
    assert names.at_broker("bulk") == "bulk"
    assert not names.keep(), "the worker reads the other one's still"
    assert names.of_worker() == ""
    assert names.keep()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_leaves_names_that_another_portal_has_taken(
    world: World, broker: Any, start: Callable[..., Any], wait_until: Callable[..., None], pool: str
) -> None:
    client = redis.Redis(port=broker.port)
    worker = start("bulk", "--concurrency=2", f"--pool={pool}")
    world.add(30, delay=0.3, broken_every=1000)
    world.request("bulk")
    wait_until(lambda: world.done() >= 3, timeout=30)
    client.flushall()
    _portal(client)
    wait_until(lambda: "Another portal has the names" in worker.log, timeout=15)
    wait_until(lambda: worker.log.count("Worker ready for") == 2, timeout=60)
    client.lpush("bulk", b"a message of the other portal")
    world.settle(60)
    assert client.lrange("bulk", 0, -1) == [b"a message of the other portal"]
    assert "archiver-test.bulk" in worker.log
    assert len(monitoring.collect()["workers"]) == (1 if pool == "threads" else 3), "the one before has left the list"
    check_invariants(world, runs=None)
    assert worker.stop() == 0


def test_a_running_worker_takes_its_names_again_after_a_flush(
    world: World, broker: Any, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    client = redis.Redis(port=broker.port)
    start("bulk", "--concurrency=2")
    client.flushall()
    wait_until(lambda: client.exists(portals.KEY), timeout=12)


@pytest.mark.timeout(90)
def test_a_command_on_a_copy_says_which_names_it_has(
    world: World, broker: Any, database: Any, make_ini: Callable[..., Any], ckan_command: Callable[..., Any]
) -> None:
    assert names.at_broker("bulk") == "bulk"
    portal = world.scalar("SELECT value #>> '{}' FROM archiver_state WHERE key = 'portal'")
    with database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM archiver_state WHERE key = 'portal'"))
        copied = "INSERT INTO archiver_state (key, value) VALUES ('portal', to_jsonb(CAST(:id AS text)))"
        connection.execute(sa.text(copied), {"id": portal})
    done = ckan_command(make_ini({"sqlalchemy.url": database.url}), "archiver", "status")
    assert "in the broker (archiver-test.bulk)" in done.stdout, done.stderr
    assert "This database is a copy" in done.stderr + done.stdout


def _other_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this portal's database is another one: a copy, with the same tables."""
    monkeypatch.setattr(portals, "database_of", lambda connection: "7000000000000000000/staging")
    monkeypatch.setattr(names, "_known", None)


def test_a_copy_of_the_database_gets_names_of_its_own(
    world: World, broker: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = redis.Redis(port=broker.port)
    assert names.at_broker("bulk") == "bulk"
    original = client.get(portals.KEY)
    world.add(3)
    world.request("bulk")
    world.run("UPDATE archiver_request SET sent_until = now() + interval '1 hour'")
    assert monitoring.collect()["queues"]["bulk"]["in_broker"] == 3
    _other_database(monkeypatch)
    assert names.at_broker("bulk") == "archiver-test.bulk"
    assert "This database is a copy" in caplog.text
    assert client.get(portals.KEY) == original
    assert monitoring.collect()["queues"]["bulk"]["in_broker"] == 0, "the messages were the original's"
    assert [one.prefix for one in names.neighbours()] == [""]
    # The id is the copy's own from now on.
    monkeypatch.setattr(names, "_known", None)
    assert names.at_broker("bulk") == "archiver-test.bulk"
    assert caplog.text.count("This database is a copy") == 1


def test_a_portal_that_moves_to_another_database_keeps_its_names(
    clean_site: None, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = redis.Redis(port=broker.port)
    assert names.at_broker("bulk") == "bulk"
    assert 0 < client.ttl(portals.AT_WORK_KEY) <= portals.AT_WORK_SECONDS
    client.delete(portals.AT_WORK_KEY)  # as it is two minutes after the last worker has ended
    _other_database(monkeypatch)
    assert names.at_broker("bulk") == "bulk"
    assert names.neighbours() == []


def test_a_database_restored_again_takes_the_names_it_had(
    world: World, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = redis.Redis(port=broker.port)
    world.run("DELETE FROM archiver_state WHERE key = 'portal'")
    _portal(client)
    assert names.at_broker("bulk") == "archiver-test.bulk"
    world.run("DELETE FROM archiver_state")
    client.delete(portals.AT_WORK_KEY + "archiver-test.")
    monkeypatch.setattr(names, "_known", None)
    assert names.at_broker("bulk") == "archiver-test.bulk"


@pytest.mark.timeout(120)
def test_messages_of_another_portal_are_left_alone(
    world: World, broker: Any, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    client = redis.Redis(port=broker.port)
    _portal(client)
    for queue in ("bulk", "priority"):
        client.lpush(queue, b"a message of the other portal")
    worker = start("all", "--concurrency=2")
    world.add(20, delay=0.05)
    world.request("bulk")
    world.settle(40)
    assert [client.llen(queue) for queue in ("bulk", "priority")] == [1, 1]
    assert "no message was dropped" not in worker.log
    check_invariants(world)


@pytest.mark.timeout(120)
def test_host_names_of_one_server_share_its_limit(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    now = threading.Semaphore()
    running, most = [0], [0]

    def answer(request: Request) -> Answer:
        with now:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.5)
        with now:
            running[0] -= 1
        return Answer(b"a,b\n", 200, {"Content-Type": "text/csv"})

    urls = []
    for number in range(12):
        url = world.origin.answer(f"/{number}.csv", answer)
        urls.append(url.replace("127.0.0.1", f"gis-{number}.test"))
    world.add_urls(urls, per_dataset=12)
    world.verdicts = dict.fromkeys(world.verdicts, "ok")
    start(
        "bulk",
        "--concurrency=12",
        plugins="archiver archiver_hears archiver_hurries archiver_names",
        host_concurrency=1,
        host_interval=0,
        address_concurrency=3,
    )
    world.request("bulk")
    wait_until(lambda: world.done() == 12, timeout=60)
    assert most[0] <= 3
    # Known by now: admitted by the transaction that claims.
    with model.meta.engine.begin() as connection:
        assert set(connection.execute(sa.text("SELECT address FROM archiver_host")).scalars()) == {"127.0.0.1"}
    world.request("bulk")
    wait_until(lambda: world.scalar("SELECT count(*) FROM archiver_request") == 0, timeout=60)
    assert most[0] <= 3
