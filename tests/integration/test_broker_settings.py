"""What a broker's URL and options come to for kombu, without a server."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import redis

from ckanext.archiver import config
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.queue import broker, broker_settings, names, redis_transport

OURS = {
    "redis://localhost:6379/1": "redis://localhost:6379/1",
    "redis://localhost": "redis://localhost",
    "redis://localhost/1?db=4": "redis://localhost/4",
    "redis://localhost/?db=0": "redis://localhost/0",
    "valkey://me:p%40ss@localhost/2": "redis://me:p%40ss@localhost/2",
    "redis://[::1]:7000/1": "redis://[::1]:7000/1",
    "unix:///run/redis.sock?db=2": "redis://localhost/2",
    "unix://:pw@/run/redis.sock": "redis://:pw@localhost/0",
    "redis+socket:///run/redis.sock?virtual_host=3": "redis://localhost/3",
    "redis://one/1;redis://two/1": "redis://one/1;redis://two/1",
    "rediss://one/1;valkeys://two/1": "redis://one/1;redis://two/1",
    "amqp://me:pw@localhost/portal": "amqp://me:pw@localhost/portal",
    "amqp://one;amqp://two": "amqp://one;amqp://two",
}


@pytest.fixture
def read(ckan_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    # No broker is asked here.
    monkeypatch.setattr(names, "prefix", lambda: "")

    def make(url: str, options: str = "") -> broker_settings.BrokerSettings:
        monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_url", url)
        monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_transport_options", options)
        return broker_settings.read()

    return make


@pytest.mark.parametrize(("url", "ours"), OURS.items())
def test_urls(read: Any, url: str, ours: str) -> None:
    assert read(url).url == ours
    assert broker.connect().transport.driver_type == ("amqp" if "amqp" in url else "redis")


def test_a_socket_is_an_option_of_the_transport(read: Any) -> None:
    assert read("unix:///run/redis.sock?db=2").options == {"unix_socket": "/run/redis.sock"}


def test_options_of_redis_urls_are_understood(read: Any) -> None:
    found = read("redis://localhost?socket_timeout=5&socket_keepalive=yes&protocol=3&max_connections=10&timeout=20")
    assert found.options == {"socket_timeout": 5.0, "socket_keepalive": True}
    assert found.tls is None


def test_what_the_option_says_comes_before_the_url(read: Any) -> None:
    found = read("redis://localhost?socket_timeout=5", '{"socket_timeout": 7, "max_connections": 50}')
    assert found.options == {"socket_timeout": 7, "max_connections": 50}


@pytest.mark.parametrize(
    ("query", "tls"),
    [
        ("", {"ssl_cert_reqs": ssl.CERT_REQUIRED}),
        ("?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}),
        ("?ssl_ca_certs=/x.pem", {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/x.pem"}),
    ],
)
def test_certificates_are_verified_unless_the_url_says_otherwise(read: Any, query: str, tls: dict[str, Any]) -> None:
    assert read(f"rediss://localhost{query}").tls == {"ssl_check_hostname": True, **tls}


def test_rabbitmq_verifies_too(read: Any) -> None:
    found = read("amqps://localhost//?ssl_ca_certs=/x.pem")
    assert found.url == "amqps://localhost//"
    assert found.tls == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "localhost", "ca_certs": "/x.pem"}


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("redis://localhost?socket_timeout=long", "", "socket_timeout in the broker's URL must be a number"),
        (
            "rediss://localhost?ssl_cert_reqs=maybe",
            "",
            "ssl_cert_reqs in the broker's URL must be none, optional or required",
        ),
        ("sentinel://localhost", "", "needs the name of the master"),
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
def test_what_cannot_be_used_is_told_in_one_sentence(read: Any, url: str, options: str, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        read(url, options)
    assert said in str(told.value)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_each_kind_of_option_is_checked_with_the_others_at_start(
    ckan_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_transport_options", "{")
    with pytest.raises(ConfigError, match="broker_transport_options"):
        config.check()


def test_other_users_of_kombu_keep_its_transport(read: Any) -> None:
    read("redis://localhost")
    assert type(Connection("redis://localhost").transport) is redis.Transport
    assert type(broker.connect().transport) is redis_transport.Transport
