"""Every engine that a broker may be, for real: an edit and a round go through it, and it may be lost and come back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import engines
from ckanext.archiver import monitoring
from world import World, check_invariants


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.RabbitMq]:
    server = engines.RabbitMq(tmp_path_factory.mktemp("rabbitmq"))
    with engines.running(server):
        yield server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[engines.Valkey]:
    server = engines.Valkey(tmp_path, password="p/w:@")
    with engines.running(server):
        yield server


@pytest.fixture
def works(world: World, start: Callable[..., Any], ckan_config: dict[str, Any]) -> Callable[..., Any]:
    """``works(url, options)``: what is wanted is archived by workers that have this broker, and through it."""

    def check(url: str, options: str = "") -> Any:
        ckan_config["ckanext-archiver.broker_url"] = url
        ckan_config["ckanext-archiver.broker_transport_options"] = options
        world.add(40)
        world.request("bulk")
        worker = start("bulk", "--concurrency=4", broker_url=url, broker_transport_options=options)
        world.settle(40)
        check_invariants(world)
        assert "Traceback" not in worker.log
        return worker

    return check


@pytest.mark.parametrize("scheme", ["redis", pytest.param("valkey", marks=pytest.mark.slow)])
def test_redis_with_a_password(works: Callable[..., Any], valkey: engines.Valkey, scheme: str) -> None:
    worker = works(f"{scheme}://:p%2Fw%3A%40@127.0.0.1:{valkey.port}?db=3&socket_timeout=5")
    assert "p/w" not in worker.log
    assert "p%2Fw" not in worker.log


@pytest.mark.parametrize("scheme", ["unix", pytest.param("redis+socket", marks=pytest.mark.slow)])
def test_redis_by_a_unix_socket(works: Callable[..., Any], valkey: engines.Valkey, scheme: str) -> None:
    works(f"{scheme}://:p%2Fw%3A%40@{valkey.socket}?db=2")
    with valkey.client() as client:
        assert "db2" in client.info("keyspace"), "the number of the database is that of the URL"


def test_redis_with_tls(
    works: Callable[..., Any], valkey: engines.Valkey, authority: trustme.CA, ca_file: Path
) -> None:
    front = engines.Proxy(valkey.port, authority.issue_cert("localhost"))
    try:
        works(f"rediss://:p%2Fw%3A%40@localhost:{front.port}/0?ssl_ca_certs={ca_file}")
    finally:
        front.close()


def test_a_certificate_that_no_one_vouches_for_is_refused(
    world: World, start: Callable[..., Any], valkey: engines.Valkey, wait_until: Callable[..., None]
) -> None:
    front = engines.Proxy(valkey.port, trustme.CA().issue_cert("localhost"))
    try:
        url = f"rediss://:p%2Fw%3A%40@localhost:{front.port}/0"
        worker = start("bulk", ready=False, broker_url=url)
        wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in worker.log, timeout=30)
    finally:
        front.close()


def test_sentinel_and_the_loss_of_its_master(
    world: World, start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    master = engines.Valkey(tmp_path, password="pw")
    replica = engines.Valkey(tmp_path, "--replicaof", f"127.0.0.1 {master.port}", password="pw")
    sentinel = engines.Sentinel(tmp_path, master)
    with engines.running(master, replica, sentinel):
        wait_until(lambda: _knows_replica(sentinel), timeout=20)
        url = sentinel.url.replace("//", "//:pw@")
        options = '{"master_name": "archiver", "socket_timeout": 2}'
        worker = start("bulk", "--concurrency=2", broker_url=url, broker_transport_options=options)
        world.add(60, delay=0.1)
        world.request("bulk")
        wait_until(lambda: world.done() >= 10, timeout=30)
        master.kill()
        wait_until(lambda: sentinel.master_port() == replica.port, timeout=20)
        world.settle(60)
        check_invariants(world)
        with replica.client() as client:
            assert client.exists("_kombu.binding.bulk"), "the worker went over to the new master"
        assert worker.runs


def _knows_replica(sentinel: engines.Sentinel) -> bool:
    with sentinel.client() as client:
        return any(not replica["is_disconnected"] for replica in client.sentinel_slaves("archiver"))


def test_redis_cluster_is_refused_in_one_sentence(start: Callable[..., Any], tmp_path: Path) -> None:
    cluster = engines.Valkey(tmp_path, "--cluster-enabled", "yes")
    with engines.running(cluster):
        worker = start("bulk", ready=False, broker_url=cluster.url)
        assert worker._process.wait(60) == 1
        assert "The broker is a Redis Cluster, which kombu cannot use" in worker.log
        assert "Traceback" not in worker.log


@pytest.mark.timeout(300)
def test_rabbitmq(works: Callable[..., Any], rabbitmq: engines.RabbitMq) -> None:
    worker = works(rabbitmq.url)
    assert "Global QoS is disabled" in worker.log
    types = _queue_types(rabbitmq)
    assert types["archiver-test.bulk"] == types["archiver-test.priority"] == "quorum"
    assert not [name for name in types if "delayed" in name], "no queues for what we never send"


def test_rabbitmq_refuses_a_password_and_a_virtual_host(
    rabbitmq: engines.RabbitMq, ckan_config: dict[str, Any]
) -> None:
    for url, remedy in (
        (rabbitmq.url.replace("guest:guest", "guest:wrong"), "Correct the user and the password"),
        (f"{rabbitmq.url.rstrip('/')}/none", "rabbitmqctl add_vhost"),
    ):
        ckan_config["ckanext-archiver.broker_url"] = url
        error = monitoring.broker_error()
        assert error is not None
        assert remedy in error.remedy
        assert "wrong" not in str(error)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rabbitmq_with_tls(
    works: Callable[..., Any], rabbitmq: engines.RabbitMq, authority: trustme.CA, ca_file: Path
) -> None:
    front = engines.Proxy(rabbitmq.port, authority.issue_cert("localhost"))
    try:
        works(f"amqps://guest:guest@localhost:{front.port}//?ssl_ca_certs={ca_file}")
    finally:
        front.close()


def _queue_types(rabbitmq: engines.RabbitMq) -> dict[str, str]:
    command = ["rabbitmqctl", "--quiet", "--no-table-headers", "list_queues", "name", "type"]
    program = Path(engines.program("rabbitmq-server")).with_name(command[0])
    found = subprocess.run(
        [program, *command[1:]], env=rabbitmq.environment(), capture_output=True, text=True, check=True
    )
    return dict(line.split() for line in found.stdout.splitlines())
