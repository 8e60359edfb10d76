"""Options: defaults, legacy sources, and one clear sentence for each bad value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ckan.config.declaration import Declaration

from ckanext.archiver import __version__, config
from ckanext.archiver.errors import ConfigError

BAD_VALUES = [
    ("archive_dir", "relative/folder"),
    ("archive_dir", "/srv/\0archive"),
    ("ca_bundle", "/srv/\0.pem"),
    ("max_content_length", "9" * 400),
    ("connect_timeout", "9" * 400),
    ("cache_url_root", "ftp://example.org/cache"),
    ("max_content_length", "50MB"),
    ("max_content_length", "0"),
    ("min_free_bytes", "-1"),
    ("orphan_grace_days", "a month"),
    ("quota_bytes", "-1"),
    ("quota_bytes_per_organization", "1 TB"),
    ("mode", "archve"),
    ("mode_overrides", "format:pdf"),
    ("mode_overrides", "colour:red=check"),
    ("mode_overrides", "format:pdf=skip"),
    ("user_agent_string", "two\nlines"),
    ("user_agent_string", "Pörtal"),
    ("verify_https", "perhaps"),
    ("ca_bundle", "/no/such/file.pem"),
    ("ca_bundle", __file__),
    ("cache_url_root", "https:///cache"),
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
    ("broker_url", "rediss:/foo"),
    ("broker_url", "http://localhost"),
    ("broker_transport_options", "{"),
    ("broker_transport_options", '{"master": "mymaster"}'),
    ("dispatch_window", "0"),
    ("host_interval", "often"),
    ("host_interval", "inf"),
    ("host_concurrency", "-1"),
    ("address_concurrency", "-1"),
    ("slow_transfers", "many"),
    ("gone_hours", "-1"),
    ("gone_recheck_hours", "soon"),
    ("doubt_runs", "0"),
    ("doubt_hours", "-1"),
    ("lease_seconds", "900"),
    ("cache_url_root", "https://[data.example.org"),
    ("verify_https", "ture"),
    ("retry_delays", "5 ²"),
    ("retry_delays", "5 10000000"),
    ("broker_url", "redis://[::1"),
    ("broker_url", "redis://localhost:port/1"),
    # What nothing could hold: a socket's time-out, the database's intervals and numbers.
    ("max_content_length", "1" + "0" * 30),
    ("min_free_bytes", "1" + "0" * 30),
    ("connect_timeout", "10000000"),
    ("first_byte_timeout", "10000000"),
    ("read_timeout", "10000000"),
    ("total_timeout", "10000000"),
    ("floor_seconds", "10000000"),
    ("floor_rate", "-1"),
    ("max_redirects", "-1"),
    ("max_ratio", "0"),
    ("max_header_bytes", "1000"),
    ("max_headers", "0"),
    ("confirm_hours", "10000000"),
    ("confirm_runs_dns", "0"),
    ("confirm_hours_dns", "-1"),
    ("outage_hosts", "0"),
    ("outage_percent", "101"),
    ("outage_minutes", "0"),
    ("history_days", "99999999999"),
    ("host_interval", "10000000"),
    ("worker_dead_seconds", "1"),
    ("hold_seconds", "10000000"),
    ("breaker_failures", "0"),
    ("poison_deaths", "0"),
    ("gone_recheck_hours", "-1"),
    ("gone_hours", "10000000"),
    ("doubt_runs", "0"),
    ("doubt_hours", "-1"),
    ("address_concurrency", "-1"),
    ("slow_transfers", "-1"),
    ("broker_transport_options", "[1]"),
    ("metrics_token", "short"),
    ("metrics_token", "with spaces between words"),
    ("metrics_port", "70000"),
    ("metrics_address", "localhost"),
    ("log_format", "xml"),
    ("report_link", "perhaps"),
    ("send_files", "copies"),
    ("web_archive_url", "https://archive.example/"),
    ("web_archive_url", "javascript:{url}"),
    *((name, "") for name in ("mode", "recheck", "verify_https", "max_content_length", "host_interval")),
]


@pytest.fixture(scope="module")
def declaration() -> Declaration:
    """Ours alone, as CKAN reads it."""
    declared = Declaration()
    text = (Path(config.__file__).parents[1] / "config_declaration.yaml").read_text()
    declared.load_dict(yaml.safe_load(text))
    return declared


@pytest.fixture
def as_ckan_reads(declaration: Declaration) -> Any:
    """``as_ckan_reads(name, value)``: what CKAN makes of a line of the ini file, and what it complains of."""

    def read(name: str, value: str) -> tuple[Any, str]:
        key = f"ckanext-archiver.{name}"
        values, errors = declaration.validate({key: value})
        return values.get(key), "".join(f"{key}: {words}" for words in errors.get(key, ()))

    return read


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_the_error_of_a_bad_value_is_one_sentence_that_names_the_option(
    ckan_config, monkeypatch, as_ckan_reads, name, value
):
    read, complaint = as_ckan_reads(name, value)
    monkeypatch.setitem(ckan_config, f"ckanext-archiver.{name}", value if complaint else read)
    with pytest.raises(ConfigError, match=rf"ckanext-archiver\.{name}\b[^\n]*") as caught:
        config.check()
    assert "\n" not in str(caught.value)
    assert "\n" not in complaint


def test_every_option_has_a_bad_value_above_but_the_one_without_effect(declaration):
    declared = [str(key) for key in declaration.iter_options()]
    ours = {key.partition(".")[2] for key in declared if key.startswith("ckanext-archiver.")}
    assert ours - {name for name, _ in BAD_VALUES} == {"archive_cloud"}


@pytest.mark.parametrize(("value", "meant"), [("on", True), ("TRUE", True), ("1", True), ("off", False), ("no", False)])
def test_true_and_false_are_read_as_in_older_releases(ckan_config, monkeypatch, as_ckan_reads, value, meant):
    read, complaint = as_ckan_reads("verify_https", value)
    monkeypatch.setitem(ckan_config, "ckanext-archiver.verify_https", read)
    assert not complaint
    assert config.policy().verify_https is meant


def test_the_error_of_a_bad_broker_hides_the_password(ckan_config, monkeypatch):
    monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_url", "redi://me:secret@localhost/1")
    with pytest.raises(ConfigError, match="redi://") as caught:
        config.check()
    assert "secret" not in str(caught.value)


def test_a_bad_proxy_is_an_error(ckan_config, monkeypatch):
    monkeypatch.setitem(ckan_config, "ckan.download_proxy", "proxy:3128")
    with pytest.raises(ConfigError, match="ckan.download_proxy"):
        config.check()


def test_the_defaults_are_good():
    config.check()
    assert config.limits().max_content_length == 50_000_000
    assert config.retry_delays() == (5, 20)


def test_the_archive_is_below_the_storage_path_by_default(ckan_config, monkeypatch, tmp_path):
    monkeypatch.setitem(ckan_config, "ckanext-archiver.archive_dir", "")
    monkeypatch.setitem(ckan_config, "ckan.storage_path", str(tmp_path))
    assert config.archive_dir() == str(tmp_path / "archiver")
    monkeypatch.setitem(ckan_config, "ckan.storage_path", "")
    assert config.archive_dir() is None


def test_the_user_agent_names_the_portal_and_no_word_that_firewalls_refuse(ckan_config, monkeypatch):
    monkeypatch.setitem(ckan_config, "ckanext-archiver.user_agent_string", "")
    monkeypatch.setitem(ckan_config, "ckan.site_url", "https://data.example.org")
    monkeypatch.setitem(ckan_config, "email_to", "")
    text = config.user_agent().lower()
    assert "https://data.example.org" in text
    assert not any(word in text for word in ("mozilla", "link", "checker", "bot", "crawler"))
    assert text == f"ckanext-archiver/{__version__} (+https://data.example.org)"
    monkeypatch.setitem(ckan_config, "email_to", "data@example.org, second@example.org")
    assert config.user_agent() == f"ckanext-archiver/{__version__} (+https://data.example.org; data@example.org)"
    monkeypatch.setitem(ckan_config, "ckan.site_url", "")
    assert config.user_agent() == f"ckanext-archiver/{__version__} (data@example.org)"


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
        ("CELERY_BROKER_URL = redis://localhost/3", "redis://localhost/3"),
        ("BROKER_URL = redis://:p%%40ss@localhost/1", "redis://:p%40ss@localhost/1"),
        ("BROKER_URL = redis://:p%40ss@localhost/1", "redis://:p%40ss@localhost/1"),
        ("name = broker\nBROKER_URL = redis://%(name)s/1", "redis://broker/1"),
        (
            "BROKER_TRANSPORT = amqp\nBROKER_HOST = mq\nBROKER_USER = me\nBROKER_PASSWORD = a/b\nBROKER_VHOST = ckan",
            "amqp://me:a%2Fb@mq/ckan",
        ),
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


def test_the_section_may_stand_in_the_file_that_this_one_is_built_on(ckan_config, monkeypatch, tmp_path):
    (tmp_path / "base.ini").write_text("[app:celery]\nBROKER_HOST = redis://localhost/1\n[app:main]\n")
    ini = tmp_path / "site.ini"
    ini.write_text("[app:main]\nuse = config:base.ini\n")
    monkeypatch.setitem(ckan_config, "__file__", str(ini))
    monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_url", "")
    assert config.broker_url() == "redis://localhost/1"


def test_the_error_of_a_bad_broker_names_where_it_is_set(ckan_config, monkeypatch, tmp_path):
    ini = tmp_path / "old.ini"
    ini.write_text("[app:celery]\nBROKER_BACKEND = sqlalchemy\nBROKER_HOST = localhost\n")
    monkeypatch.setitem(ckan_config, "__file__", str(ini))
    monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_url", "")
    with pytest.raises(
        ConfigError, match=r"^BROKER_HOST in \[app:celery\] must be a redis://, valkey://, unix:// or amqp:// URL"
    ):
        config.check()


def test_a_portal_in_another_script_has_a_user_agent(ckan_config, monkeypatch):
    monkeypatch.setitem(ckan_config, "ckanext-archiver.user_agent_string", "")
    monkeypatch.setitem(ckan_config, "ckan.site_url", "https://daten.münchen.example")
    monkeypatch.setitem(ckan_config, "email_to", "")
    assert "https://daten.xn--mnchen-3ya.example)" in config.user_agent()


def test_the_internal_address(ckan_config, monkeypatch):
    monkeypatch.setitem(ckan_config, "ckan.site_url_internally", "http://ckan:5000/")
    assert config.site_url_internally() == "http://ckan:5000"
    monkeypatch.setitem(ckan_config, "ckan.site_url_internally", "")
    assert config.site_url_internally() == ckan_config["ckan.site_url"]
    monkeypatch.setitem(ckan_config, "ckan.site_url_internally", "ckan:5000")
    with pytest.raises(ConfigError, match=r"^ckan.site_url_internally must start with http"):
        config.check()
