"""What a broker's URL and options come to for kombu, without a server."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES, redis

from ckanext.archiver import config
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.queue import engines, redis_transport

OURS = {
    "redis://localhost:6379/1": "archiver-redis://localhost:6379/1",
    "redis://localhost": "archiver-redis://localhost:6379/0",
    "redis://localhost/1?db=4": "archiver-redis://localhost:6379/4",
    "redis://localhost/?db=0": "archiver-redis://localhost:6379/0",
    "valkey://me:p%40ss@localhost/2": "archiver-redis://me:p%40ss@localhost:6379/2",
    "redis://[::1]:7000/1": "archiver-redis://[::1]:7000/1",
    "unix:///run/redis.sock?db=2": "archiver-redis+socket:///run/redis.sock?virtual_host=2",
    "unix://:pw@/run/redis.sock": "archiver-redis+socket://:pw@/run/redis.sock?virtual_host=0",
    "redis+socket:///run/redis.sock?virtual_host=3": "archiver-redis+socket:///run/redis.sock?virtual_host=3",
    "redis://one/1;redis://two/1": "archiver-redis://one:6379/1;archiver-redis://two:6379/1",
    "rediss://one/1;valkeys://two/1": "archiver-redis://one:6379/1;archiver-redis://two:6379/1",
    "amqp://me:pw@localhost/portal": "amqp://me:pw@localhost/portal",
    "amqp://one;amqp://two": "amqp://one;amqp://two",
}


@pytest.fixture
def engine(ckan_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(url: str, options: str = "") -> engines.Engine:
        monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_url", url)
        monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_transport_options", options)
        return engines.current()

    return make


@pytest.mark.parametrize(("url", "ours"), OURS.items())
def test_urls(engine: Any, url: str, ours: str) -> None:
    found = engine(url)
    assert found.url == ours
    assert found.connect(1).transport.driver_type == ("amqp" if "amqp" in url else "redis")


def test_options_of_redis_urls_are_understood(engine: Any) -> None:
    found = engine("redis://localhost?socket_timeout=5&socket_keepalive=yes&protocol=3&max_connections=10&timeout=20")
    assert found.options == {"socket_timeout": 5.0, "socket_keepalive": True}
    assert found.ssl is None


def test_what_the_option_says_comes_before_the_url(engine: Any) -> None:
    found = engine("redis://localhost?socket_timeout=5", '{"socket_timeout": 7, "max_connections": 50}')
    assert found.options == {"socket_timeout": 7, "max_connections": 50}


@pytest.mark.parametrize(
    ("query", "ssl"),
    [
        ("", {"ssl_cert_reqs": "required", "ssl_check_hostname": True}),
        ("?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ("?ssl_ca_certs=/x.pem", {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": "/x.pem"}),
    ],
)
def test_certificates_are_verified_unless_the_url_says_otherwise(engine: Any, query: str, ssl: dict[str, Any]) -> None:
    assert engine(f"rediss://localhost{query}").ssl == ssl


def test_rabbitmq_verifies_too(engine: Any) -> None:
    found = engine("amqps://localhost//?ssl_ca_certs=/x.pem")
    assert found.url == "amqps://localhost//"
    assert found.ssl == {"cert_reqs": 2, "server_hostname": "localhost", "ca_certs": "/x.pem"}


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("redis://localhost?socket_timeout=long", "", "The broker's URL cannot be used: Invalid value"),
        ("rediss://localhost?ssl_cert_reqs=maybe", "", "ssl_cert_reqs must be required, optional or none"),
        ("sentinel://localhost", "", 'broker_transport_options must have a "master_name"'),
        ("redis://localhost", "{", "ckanext-archiver.broker_transport_options must be a JSON object"),
        ("redis://localhost", "[1]", "ckanext-archiver.broker_transport_options must be a JSON object"),
        ("redis://localhost", '{"master": "secret"}', "not 'master'"),
        ("redis://localhost", '{"socket_timeout": "secret"}', "socket_timeout must be a number"),
        ("redis://localhost", '{"socket_timeout": true}', "socket_timeout must be a number"),
        ("redis://localhost", '{"socket_timeout": -1}', "socket_timeout must be a number"),
        ("redis://localhost", '{"socket_keepalive": 1}', "socket_keepalive must be true or false"),
        ("sentinel://localhost", '{"sentinel_kwargs": "secret"}', "sentinel_kwargs must be an object"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(engine: Any, url: str, options: str, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        engine(url, options)
    assert said in str(told.value)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_each_kind_of_option_is_checked_with_the_others_at_start(
    ckan_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_transport_options", "{")
    with pytest.raises(ConfigError, match="broker_transport_options"):
        config.check()


def test_other_users_of_kombu_keep_its_transport() -> None:
    importlib.reload(engines)
    assert TRANSPORT_ALIASES["redis"] == "kombu.transport.redis:Transport"
    assert Connection("redis://localhost").transport_cls == "redis"
    assert type(Connection("redis://localhost").transport) is redis.Transport
    assert type(Connection("archiver-redis://localhost").transport) is redis_transport.Transport
