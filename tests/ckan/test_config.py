"""Options: defaults, legacy sources, and one clear sentence for each bad value."""

from __future__ import annotations

import pytest

from ckanext.archiver import config
from ckanext.archiver.errors import ConfigError

BAD_VALUES = [
    ("archive_dir", "relative/folder"),
    ("cache_url_root", "ftp://example.org/cache"),
    ("max_content_length", "50MB"),
    ("max_content_length", "0"),
    ("min_free_bytes", "-1"),
    ("mode", "archve"),
    ("mode_overrides", "format:pdf"),
    ("mode_overrides", "colour:red=check"),
    ("mode_overrides", "format:pdf=skip"),
    ("user_agent_string", "two\nlines"),
    ("user_agent_string", "Pörtal"),
    ("verify_https", "perhaps"),
    ("ca_bundle", "/no/such/file.pem"),
    ("allowed_addresses", "10.0.0.0/99"),
    ("allow_ftp", "perhaps"),
    ("connect_timeout", "0"),
    ("total_timeout", "nan"),
    ("retry_delays", "5, 20"),
    ("confirm_runs", "0"),
    ("outage_percent", "a third"),
    ("archive_on_change", "perhaps"),
    ("recheck", "sometimes"),
    ("broker_url", "localhost:6379"),
    ("broker_url", "http://localhost"),
    ("dispatch_window", "0"),
    ("host_interval", "often"),
    ("host_interval", "inf"),
    ("host_concurrency", "-1"),
    ("lease_seconds", "900"),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_value_is_told_in_one_sentence_that_names_the_option(ckan_config, monkeypatch, name, value):
    monkeypatch.setitem(ckan_config, f"ckanext-archiver.{name}", value)
    with pytest.raises(ConfigError, match=rf"ckanext-archiver\.{name}\b[^\n]*") as caught:
        config.check()
    assert "\n" not in str(caught.value)


def test_a_bad_proxy_is_told(ckan_config, monkeypatch):
    monkeypatch.setitem(ckan_config, "ckan.download_proxy", "proxy:3128")
    with pytest.raises(ConfigError, match="ckan.download_proxy"):
        config.check()


def test_the_defaults_are_good():
    config.check()
    assert config.limits().max_content_length == 50_000_000
    assert config.retry_delays() == (5, 20)


def test_the_archive_lies_in_the_storage_when_nothing_else_is_said(ckan_config, monkeypatch, tmp_path):
    monkeypatch.setitem(ckan_config, "ckanext-archiver.archive_dir", "")
    monkeypatch.setitem(ckan_config, "ckan.storage_path", str(tmp_path))
    assert config.archive_dir() == str(tmp_path / "archiver")
    monkeypatch.setitem(ckan_config, "ckan.storage_path", "")
    assert config.archive_dir() is None


def test_the_user_agent_names_the_portal_and_no_word_that_firewalls_refuse(ckan_config, monkeypatch):
    monkeypatch.setitem(ckan_config, "ckanext-archiver.user_agent_string", "")
    monkeypatch.setitem(ckan_config, "ckan.site_url", "https://data.example.org")
    text = config.user_agent().lower()
    assert "https://data.example.org" in text
    assert not any(word in text for word in ("link", "checker", "bot", "crawler"))


@pytest.mark.parametrize(
    ("where", "mode"),
    [
        ({"dataset": "d", "organization": "o", "host": "h.example", "format": "CSV"}, "archive"),
        ({"dataset": "d", "organization": "o", "host": "h.example", "format": "GeoTIFF"}, "check"),
        ({"dataset": "d", "organization": "stats", "host": "h.example", "format": "CSV"}, "check"),
        ({"dataset": "kept", "organization": "stats", "host": "h.example", "format": "GeoTIFF"}, "archive"),
    ],
)
def test_the_nearest_override_of_the_mode_decides(ckan_config, monkeypatch, where, mode):
    overrides = "organization:stats=check format:geotiff=check dataset:kept=archive"
    monkeypatch.setitem(ckan_config, "ckanext-archiver.mode_overrides", overrides)
    assert config.mode_for(**where) == mode


@pytest.mark.parametrize(
    ("section", "url"),
    [
        ("BROKER_HOST = redis://localhost/1", "redis://localhost/1"),
        ("BROKER_URL = amqp://guest@localhost//", "amqp://guest@localhost//"),
        ("BROKER_BACKEND = redis\nBROKER_HOST = localhost\nBROKER_PORT = 6380", "redis://localhost:6380/"),
    ],
)
def test_the_section_of_older_releases_names_the_broker(ckan_config, monkeypatch, tmp_path, section, url):
    ini = tmp_path / "old.ini"
    ini.write_text(f"[app:celery]\n{section}\n[app:main]\n")
    monkeypatch.setitem(ckan_config, "__file__", str(ini))
    monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_url", "")
    assert config.broker_url() == url
    monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_url", "redis://other/2")
    assert config.broker_url() == "redis://other/2"


def test_ckan_s_own_redis_is_the_last_resort(ckan_config, monkeypatch):
    monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_url", "")
    monkeypatch.setitem(ckan_config, "ckan.redis.url", "redis://localhost:6379/7")
    assert config.broker_url() == "redis://localhost:6379/7"
