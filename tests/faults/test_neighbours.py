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
from ckanext.archiver.queue import names
from origin_server import Answer, Request
from world import World, check_invariants


@pytest.fixture(autouse=True)
def forget_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers the names for a minute; here each test is a portal of its own."""
    monkeypatch.setattr(names, "_known", None)


def _portal(client: Any, prefix: str = "") -> None:
    """Another portal has these names."""
    client.set(names.KEY + prefix, "another portal")


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
    monkeypatch.setattr(names, "CONNECT_SECONDS", 2)
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
    assert names.at_broker("bulk") == "archiver-test.bulk"
    client.flushall()
    monkeypatch.setattr(names, "_known", None)
    assert names.at_broker("bulk") == "archiver-test.bulk"
    # Another one took this portal's names while there was no key.
    client.set(names.KEY + "archiver-test.", "a third portal")
    assert not names.keep()
    assert names.at_broker("bulk") == "bulk"
    assert names.keep()


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
