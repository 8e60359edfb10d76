"""``ckan archiver doctor``: each fault is made for real and found, and a healthy portal raises no alarm."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ckan.plugins.toolkit as tk
import pysolr
import pytest
from ckan import model
from ckan.cli.cli import ckan
from ckan.lib.redis import connect_to_redis
from ckan.tests import factories

from _stack.layout import free_port
from ckanext.archiver import archive_root, cache_urls, clock, doctor, monitoring
from ckanext.archiver.doctor import Level, Report, database, network, portal, queues, storage
from ckanext.archiver.doctor.finding import Finding, ok, problem
from ckanext.archiver.queue import names, portals, recovery
from origin_server import Origin
from rows import put, run

pytestmark = pytest.mark.usefixtures("clean_site")


def reports(*names: str, fix: bool = False) -> list[Report]:
    checks = {name: doctor.CHECKS[name] for name in names} if names else None
    return list(doctor.run(fix=fix, checks=checks))


def bad(*names: str) -> list[tuple[Level, str]]:
    """The findings that are not ok, of some checks or of all."""
    return [(report.level, report.message) for report in reports(*names) if report.level is not Level.OK]


def one(name: str, level: Level) -> Report:
    """The one finding of a check that is not ok."""
    (report,) = [report for report in reports(name) if report.level is not Level.OK]
    assert report.level is level
    assert report.remedy
    return report


@pytest.fixture
def changed(ckan_config: dict[str, Any]) -> Callable[[str, str], None]:
    """``changed("archive_dir", "/x")``: an option of ours, for this test."""

    def change(name: str, value: str) -> None:
        ckan_config[name if "." in name or name == "email_to" else f"ckanext-archiver.{name}"] = value

    return change


def have_workers() -> None:
    with_queues = ["priority", "bulk"]
    recovery.record_heartbeat("w:1:a", with_queues)
    run("SELECT 1")


def archival(url: str, *, private: bool = False, copy: Path | None = None, cache_url: str = "") -> str:
    """A resource whose link works. Returns its id."""
    owner = factories.Organization()["id"] if private else None
    dataset = factories.Dataset(private=private, owner_org=owner)
    resource = factories.Resource(package_id=dataset["id"], url=url)
    run(
        "INSERT INTO archival (id, package_id, resource_id, verdict, cause, source_url, cache_filepath, "
        "cache_url, size, last_success, updated) "
        "VALUES (:id, :package, :id, 'ok', 'ok', :url, :copy, :cache_url, 4, now(), now())",
        id=resource["id"],
        package=dataset["id"],
        url=url,
        copy=str(copy) if copy else None,
        cache_url=cache_url,
    )
    return str(resource["id"])


# -- a healthy portal ----------------------------------------------------------------------------------------------


def test_a_healthy_portal_raises_no_alarm(
    web: Callable[..., str], origin: Origin, changed: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    have_workers()
    changed("ckan.site_url_internally", web())
    changed("email_to", "open-data@example.org")
    changed("allowed_addresses", "127.0.0.0/8")
    changed("min_free_bytes", "1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    archival(origin.serve("/data.csv", b"a,b\n"))
    # What the test's machine has of routes is not the portal's.
    checks = {name: check for name, check in doctor.CHECKS.items() if name != "addresses"}
    found = list(doctor.run(checks=checks))
    assert [report for report in found if report.level is not Level.OK] == []
    assert {report.check for report in found} == set(checks)


def test_a_check_that_crashes_stops_no_other() -> None:
    def crashes() -> Iterator[Finding]:
        yield ok("The first half.")
        raise ZeroDivisionError("in the second")

    checks = {"broken": crashes, "after": lambda: [ok("All is well.")]}
    first, second = doctor.run(checks=checks)
    assert (first.level, second.level) == (Level.PROBLEM, Level.OK)
    assert "ZeroDivisionError: in the second" in first.message


def test_a_check_that_breaks_the_transaction_stops_no_other() -> None:
    checks = {"broken": lambda: run("SELECT 1 / 0"), "tables": doctor.CHECKS["tables"]}
    assert [report.level for report in doctor.run(checks=checks)] == [Level.PROBLEM, Level.OK]


def test_a_check_that_needs_a_missing_table_names_the_one_cause() -> None:
    checks = {"needs it": lambda: run("SELECT 1 FROM archiver_of_tomorrow")}
    (report,) = doctor.run(checks=checks)
    assert (report.level, report.remedy) == (Level.WARNING, "ckan archiver init")
    assert "archiver_of_tomorrow" not in report.message


# -- the portal ----------------------------------------------------------------------------------------------------


def test_the_plugin_is_not_enabled(changed: Callable[[str, str], None]) -> None:
    changed("ckan.plugins", "stats")
    assert one("plugins", Level.PROBLEM).remedy == "ckan.plugins = stats archiver"


def test_qa_comes_after_archiver(changed: Callable[[str, str], None]) -> None:
    changed("ckan.plugins", "stats archiver report qa")
    assert one("plugins", Level.PROBLEM).remedy == "ckan.plugins = stats qa archiver report"


def test_an_option_with_a_typing_error(changed: Callable[[str, str], None]) -> None:
    changed("max_content_lenght", "1")
    report = one("options", Level.WARNING)
    assert "max_content_lenght" in report.message
    assert "ckanext-archiver.max_content_length" in report.remedy


@pytest.mark.parametrize("name", ["ckanext_archiver.mode", "ckan-ext-archiver.mode"])
def test_an_option_whose_words_are_put_together_in_another_way(changed: Callable[[str, str], None], name: str) -> None:
    changed(name, "check")
    report = one("options", Level.WARNING)
    assert name in report.message
    assert "ckanext-archiver.mode" in report.remedy


def test_an_option_at_the_end_of_the_file(ckan_config: dict[str, Any], tmp_path: Path) -> None:
    ini = tmp_path / "ckan.ini"
    lines = ["[DEFAULT]", "ckanext-archiver.mode = check", "[app:main]", "ckanext-archiver.recheck = off"]
    ini.write_text(
        "\n".join([*lines, "[formatter_generic]", "ckanext-archiver.recheck = dayly", "format = %(message)s"])
    )
    ckan_config["__file__"] = str(ini)
    report = one("options", Level.WARNING)
    assert "ckanext-archiver.recheck is in the section [formatter_generic]" in report.message
    assert "[app:main]" in report.remedy


def test_a_renamed_option(changed: Callable[[str, str], None]) -> None:
    changed("ckanext.archiver.user_agent_string", "an old portal")
    assert one("options", Level.WARNING).remedy == "ckanext-archiver.user_agent_string = an old portal"


def test_an_option_that_has_no_effect(changed: Callable[[str, str], None]) -> None:
    changed("archive_cloud", "true")
    assert "no effect" in one("options", Level.WARNING).message


def test_a_bad_value(changed: Callable[[str, str], None]) -> None:
    changed("recheck", "sometimes")
    assert "ckanext-archiver.recheck" in one("options", Level.PROBLEM).message


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({"archive_on_change": "false", "recheck": "off"}, Level.WARNING),
        ({"mode": "check", "cache_url_root": "https://data.example/copies"}, Level.WARNING),
        ({"verify_https": "false"}, Level.WARNING),
        ({"allowed_addresses": "0.0.0.0/0"}, Level.PROBLEM),
        ({"user_agent_string": "Mozilla/5.0 portal"}, Level.WARNING),
        ({"user_agent_string": "our link checker"}, Level.WARNING),
    ],
)
def test_options_that_do_not_fit_together(
    options: dict[str, str], level: Level, changed: Callable[[str, str], None]
) -> None:
    for name, value in options.items():
        changed(name, value)
    one("options together", level)


def test_the_index_lacks_the_field() -> None:
    run("INSERT INTO archiver_dataset (package_id, facet, indexed_facet) VALUES ('p', 'broken', 'broken')")
    assert one("search index", Level.PROBLEM).remedy.startswith("ckan search-index rebuild")


def test_datasets_are_not_indexed_again() -> None:
    run("INSERT INTO archiver_dataset (package_id, facet) SELECT 'p' || n, NULL FROM generate_series(1, 1) n")
    run(
        "INSERT INTO archiver_dataset (package_id, indexed_facet) SELECT 'q' || n, 'ok' FROM generate_series(1, 2000) n"
    )
    assert "2,000 datasets" in one("search index", Level.WARNING).message


def test_no_contact(changed: Callable[[str, str], None]) -> None:
    changed("email_to", "")
    one("contact", Level.WARNING)


def test_results_of_release_0_1_are_left() -> None:
    resource = factories.Resource()
    run(
        "INSERT INTO task_status (id, entity_id, entity_type, task_type, key, value, last_updated) "
        "VALUES ('t', :id, 'resource', 'archiver', 'status', 'Archived successfully', now())",
        id=resource["id"],
    )
    assert "migrate-task-status" in one("older releases", Level.WARNING).remedy


def test_the_broker_is_read_from_an_old_section(
    tmp_path: Path, ckan_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ini = tmp_path / "old.ini"
    ini.write_text("[app:main]\n[app:celery]\nBROKER_URL = redis://localhost/1\n")
    monkeypatch.setitem(ckan_config, "__file__", str(ini))
    monkeypatch.setitem(ckan_config, "ckanext-archiver.broker_url", "")
    assert "[app:celery]" in one("older releases", Level.WARNING).message


# -- the database ----------------------------------------------------------------------------------------------------


@pytest.fixture
def renamed_column() -> Iterator[None]:
    run("ALTER TABLE archiver_request RENAME COLUMN held TO held_away")
    yield
    run("ALTER TABLE archiver_request RENAME COLUMN held_away TO held")


@pytest.mark.usefixtures("renamed_column")
def test_a_table_lacks_a_column() -> None:
    report = one("tables", Level.PROBLEM)
    assert report.remedy == "ckan archiver init"
    assert "held" in report.message


def test_the_tables_are_of_an_older_release() -> None:
    head = database.head_revision()
    run("UPDATE archiver_alembic_version SET version_num = '001'")
    try:
        assert "001" in one("tables", Level.PROBLEM).message
    finally:
        run("UPDATE archiver_alembic_version SET version_num = :head", head=head)
    assert bad("tables") == []


def test_the_clocks_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    real = clock.utc
    monkeypatch.setattr(clock, "utc", lambda: real() + timedelta(minutes=3))
    assert "180 s" in one("database clock", Level.PROBLEM).message


def test_dead_rows(monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]) -> None:
    monkeypatch.setattr(database, "MANY_DEAD_ROWS", -1)

    def is_found() -> bool:
        # PostgreSQL counts dead rows some time after they died, and autovacuum may come before.
        put("h.example", 50)
        run("DELETE FROM archiver_request")
        run("SELECT pg_stat_force_next_flush()")
        return any("archiver_request" in message for _, message in bad("dead rows"))

    wait_until(is_found, timeout=20)


def test_stale_leases_are_released_by_fix() -> None:
    put("h.example", 3, lease_token="'t'", leased_by="'w'", leased_until="now() - interval '1 hour'")
    assert "3 requests" in one("leases", Level.WARNING).message
    (report,) = reports("leases", fix=True)
    assert (report.level, report.fixed) == (Level.OK, "fixed")
    assert run("SELECT count(*) FROM archiver_request WHERE lease_token IS NULL")[0][0] == 3
    assert bad("leases") == []


def test_the_server_allows_too_few_connections() -> None:
    for number in range(40):
        recovery.record_heartbeat(f"w:{number}:a", ["bulk"])
    run("SELECT 1")
    assert "max_connections" in one("connections", Level.WARNING).remedy


# -- the queues ------------------------------------------------------------------------------------------------------


def test_the_broker_is_away(changed: Callable[[str, str], None]) -> None:
    changed("broker_url", f"redis://:secret@127.0.0.1:{free_port()}/0")
    report = one("broker", Level.PROBLEM)
    assert "does not answer" in report.message
    assert "secret" not in report.message
    assert "ckanext-archiver.broker_url" in report.remedy
    assert "Requests wait in the database" in report.message
    run(
        "INSERT INTO archiver_worker (worker_id, hostname, pid, queues, polls_since) "
        "VALUES ('w', 'h', 1, 'bulk', now())"
    )
    model.Session.commit()
    message = one("broker", Level.PROBLEM).message
    assert "1 worker takes requests from the table" in message
    assert "wait in the database" not in message


def test_the_remedy_names_the_option_that_names_the_broker(changed: Callable[[str, str], None]) -> None:
    changed("broker_url", "")
    changed("ckan.redis.url", f"redis://127.0.0.1:{free_port()}/0")
    report = one("broker", Level.PROBLEM)
    assert "ckan.redis.url" in report.remedy
    assert "broker_url" not in report.remedy


@pytest.fixture
def client(broker: Any) -> Any:
    """The doctor's client of a Redis of the test's own."""
    redis = queues._redis()
    assert redis is not None
    return redis


def test_redis_removes_messages_when_it_is_full(client: Any) -> None:
    client.config_set("maxmemory", 100_000_000)
    client.config_set("maxmemory-policy", "allkeys-lru")
    assert "allkeys-lru" in one("broker", Level.WARNING).message


def test_another_portal_uses_the_same_redis_database(
    client: Any, changed: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_known", None)
    said = {"site_url": "https://d.example", "site_id": "d", "prefix": "", "seen": time.time()}
    old = {**said, "site_url": "https://gone.example", "seen": 0}
    client.set(portals.KEY, "d d")
    client.hset(portals.PORTALS, mapping={"d": json.dumps(said), "gone": json.dumps(old)})
    report = one("broker", Level.WARNING)
    assert "https://d.example with the queues priority and bulk" in report.message
    assert "archiver-test.priority and archiver-test.bulk" in report.message
    assert "gone.example" not in report.message
    assert "ckanext-archiver.broker_url = " in report.remedy
    client.hset(portals.PORTALS, "d", json.dumps({**said, "site_id": "archiver-test"}))
    changed("ckan.redis.url", str(tk.config["ckanext-archiver.broker_url"]))
    assert [level for level, message in bad("broker") if "https://d.example has the same ckan.site_id" in message] == [
        Level.PROBLEM
    ]


def test_redis_cannot_write_its_snapshot(client: Any, wait_until: Callable[..., None]) -> None:
    client.config_set("save", "3600 1")
    folder, name = client.config_get("dir")["dir"], client.config_get("dbfilename")["dbfilename"]
    (Path(folder) / name).mkdir()  # what it writes cannot take the place of a folder
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    report = one("broker", Level.PROBLEM)
    assert "refuses messages: MISCONF" in report.message
    assert "disk of Redis" in report.remedy


def test_redis_wants_a_password(broker: Any, client: Any, changed: Callable[[str, str], None]) -> None:
    client.config_set("requirepass", "right")
    assert "Add the password" in one("broker", Level.PROBLEM).remedy
    changed("broker_url", broker.url.replace("redis://", "redis://:wrong@"))
    report = one("broker", Level.PROBLEM)
    assert "Correct the user and the password" in report.remedy
    assert "wrong" not in report.message


def test_the_broker_is_a_replica(client: Any) -> None:
    client.replicaof("127.0.0.1", free_port())
    assert "replica, which takes no messages" in one("broker", Level.PROBLEM).remedy


def test_the_memory_of_redis_is_full(client: Any) -> None:
    client.config_set("maxmemory", 1)
    report = one("broker", Level.PROBLEM)
    assert "refuses messages: command not allowed when used memory > 'maxmemory'" in report.message
    assert "Give Redis more memory" in report.remedy
    assert any(
        "NO BROKER: The broker refuses messages: " in line and "Give Redis" in line
        for line in monitoring.alarms(monitoring.collect())
    )


def test_a_user_of_redis_may_not_write(client: Any, broker: Any, changed: Callable[[str, str], None]) -> None:
    client.acl_setuser("reader", enabled=True, passwords=["+right"], keys=["*"], categories=["+@read", "+@connection"])
    changed("broker_url", broker.url.replace("redis://", "redis://reader:right@"))
    assert "ACL SETUSER" in one("broker", Level.PROBLEM).remedy


def test_redis_has_no_such_database(broker: Any, changed: Callable[[str, str], None]) -> None:
    changed("broker_url", re.sub(r"/\d+$", "/99", broker.url))
    assert "Name a database that Redis has" in one("broker", Level.PROBLEM).remedy


def test_another_portal_uses_the_same_redis(client: Any) -> None:
    client.sadd("rq:queues", "rq:queue:ckan:another:default", f"rq:queue:ckan:{tk.config['ckan.site_id']}:default")
    assert "another" in one("broker", Level.WARNING).message


def test_rq_jobs_of_an_older_release_wait(changed: Callable[[str, str], None]) -> None:
    client = connect_to_redis()
    client.rpush(f"rq:queue:ckan:{tk.config['ckan.site_id']}:bulk", "job")
    assert one("broker", Level.WARNING).remedy == "ckan jobs clear bulk"


@pytest.mark.parametrize(
    ("versions", "level"),
    [
        ({"celery": "5.7.0", "kombu": "5.7.1", "redis": "8.0.1"}, None),
        ({"celery": "5.6.1", "kombu": "5.6.2", "redis": "5.0.7"}, None),
        ({"celery": "5.7.0", "kombu": "5.7.1", "redis": "5.0.7"}, Level.PROBLEM),
        ({"celery": "5.6.1", "kombu": "5.6.2", "redis": "8.0.1"}, Level.PROBLEM),
        ({"celery": "5.7.0", "kombu": "5.7.1", "redis": "4.6.0"}, Level.WARNING),
    ],
)
def test_versions_that_do_not_fit(
    versions: dict[str, str], level: Level | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    if level is None:
        assert bad("libraries") == []
    else:
        one("libraries", level)


def test_a_queue_has_no_worker() -> None:
    recovery.record_heartbeat("w:1:a", ["bulk"])
    put("h.example", 2, "priority")
    report = one("workers", Level.PROBLEM)
    assert report.remedy == "ckan archiver worker --queue priority"
    assert "2 requests" in report.message


def test_the_last_worker_was_seen_long_ago() -> None:
    have_workers()
    run("UPDATE archiver_worker SET seen_at = now() - interval '3 hours'")
    assert any("3 h ago" in message for _, message in bad("workers"))


def test_no_worker_dispatches() -> None:
    have_workers()
    put("example.org")
    assert bad("workers") == []
    run("UPDATE archiver_host SET bulk_at = now() - interval '20 minutes'")
    assert "no worker dispatches" in one("workers", Level.PROBLEM).message
    run("INSERT INTO archiver_pause (queue, host, paused_by) VALUES ('bulk', '', 'me')")
    assert bad("workers") == []


def test_an_edit_waits_for_long() -> None:
    have_workers()
    put("h.example", 1, "priority", requested_at="now() - interval '2 hours'")
    assert "priority" in one("workers", Level.WARNING).message


def test_many_hosts_fail_at_once() -> None:
    have_workers()
    run(
        "INSERT INTO archiver_host (host, last_failed, last_checked_at, failing_since) "
        "SELECT 'h' || n, true, now(), now() FROM generate_series(1, 30) n"
    )
    assert "hosts fail at once" in one("workers", Level.PROBLEM).message


def test_the_command_runs_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    one("user", Level.WARNING)


# -- storage ---------------------------------------------------------------------------------------------------------


def test_solr_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    away = pysolr.Solr(f"http://127.0.0.1:{free_port()}/solr/ckan")
    monkeypatch.setattr(portal, "make_connection", lambda: away)
    report = one("search index", Level.PROBLEM)
    assert "Solr does not answer" in report.message
    assert report.remedy == "Start Solr, or correct solr_url."


def test_an_override_names_what_does_not_exist(changed: Callable[[str, str], None]) -> None:
    factories.Organization(name="agency")
    changed("mode_overrides", "organization:Agency=check organization:agnecy=check format:shp=check")
    assert "the organization agnecy, which does not exist" in one("options together", Level.WARNING).message


def test_the_archive_directory_is_missing_and_made_by_fix(tmp_path: Path, changed: Callable[[str, str], None]) -> None:
    directory = tmp_path / "not" / "there"
    changed("archive_dir", str(directory))
    one("archive", Level.WARNING)
    reports("archive", fix=True)
    assert directory.is_dir()


def test_the_archive_directory_is_a_file(tmp_path: Path, changed: Callable[[str, str], None]) -> None:
    (tmp_path / "file").write_text("")
    changed("archive_dir", str(tmp_path / "file"))
    assert "not a directory" in one("archive", Level.PROBLEM).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_archive_directory_is_not_writable(archive_dir: Path) -> None:
    archive_dir.chmod(0o500)
    try:
        one("archive", Level.PROBLEM)
    finally:
        archive_dir.chmod(0o700)


def test_the_archive_is_not_mounted(archive_dir: Path) -> None:
    archival("http://h.example/a", copy=archive_dir / "ab" / "abc" / "a")
    assert "not mounted" in one("archive", Level.PROBLEM).message


def test_the_directory_of_the_copies_is_gone_with_its_mount_point(
    tmp_path: Path, changed: Callable[[str, str], None]
) -> None:
    changed("archive_dir", str(tmp_path / "gone"))
    archival("http://h.example/a", copy=tmp_path / "gone" / "ab" / "abc" / "a")
    assert "not mounted" in one("archive", Level.PROBLEM).message, "as status has it"


def test_the_archive_was_moved_without_its_copies(
    tmp_path: Path, archive_dir: Path, changed: Callable[[str, str], None]
) -> None:
    archival("http://h.example/a", copy=archive_dir / "ab" / "abc" / "a")
    (tmp_path / "new").mkdir()
    changed("archive_dir", str(tmp_path / "new"))
    assert "1 copy is recorded outside" in one("archive", Level.PROBLEM).message


def test_the_archive_is_mounted_read_only(archive_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(storage.tempfile, "NamedTemporaryFile", refuse)
    assert "mount -o remount,rw" in one("archive", Level.PROBLEM).remedy
    flags = os.statvfs(archive_dir).f_flag | os.ST_RDONLY
    monkeypatch.setattr(archive_root.os, "statvfs", lambda path: SimpleNamespace(f_flag=flags))
    assert any("mounted read-only" in line for line in monitoring.alarms(monitoring.collect()))


def test_the_disk_is_full(archive_dir: Path, changed: Callable[[str, str], None]) -> None:
    changed("min_free_bytes", str(shutil.disk_usage(archive_dir).free * 10))
    assert "nothing is downloaded" in one("archive", Level.PROBLEM).message


def test_copies_are_missing_on_disk(archive_dir: Path) -> None:
    for name in ("a", "b"):
        archival(f"http://h.example/{name}", copy=archive_dir / name)
    (archive_dir / "a").write_bytes(b"a,b\n")
    report = one("copies", Level.WARNING)
    assert f"1 file of 2 copies that were looked for is missing on this machine's disk, such as {archive_dir}/b" in (
        report.message
    )


def test_a_directory_that_another_portal_has_marked(archive_dir: Path, ckan_config: dict[str, Any]) -> None:
    archive_root.make(str(archive_dir))
    assert bad("archive") == []
    run("UPDATE archiver_state SET value = to_jsonb(CAST('another' AS text)) WHERE key = 'portal'")
    model.Session.commit()
    ckan_config["ckan.site_url"] = "http://staging.example.org"
    assert "another portal" in one("archive", Level.PROBLEM).message


def test_the_web_server_does_not_serve_copies(
    origin: Origin, archive_dir: Path, changed: Callable[[str, str], None]
) -> None:
    changed("cache_url_root", origin.url("/copies"))
    archival("http://h.example/a", copy=archive_dir / "a", cache_url="http://before.example/a")
    assert "is not served" in one("serving", Level.PROBLEM).message
    origin.serve("/copies/a", b"a,b\n")
    assert bad("serving") == []


def test_the_web_server_serves_private_copies(
    origin: Origin, archive_dir: Path, changed: Callable[[str, str], None]
) -> None:
    changed("cache_url_root", origin.url("/copies"))
    archival("http://h.example/a", private=True, copy=archive_dir / "a", cache_url=origin.url("/copies/a"))
    assert bad("serving") == [], "404 for a private copy is right"
    origin.serve("/copies/a", b"a,b\n")
    assert "private" in one("serving", Level.PROBLEM).message


def test_the_web_server_goes_on_serving_private_copies(
    origin: Origin, archive_dir: Path, changed: Callable[[str, str], None]
) -> None:
    changed("cache_url_root", origin.url("/copies"))
    archival("http://h.example/a", private=True, copy=archive_dir / "a", cache_url=origin.url("/copies/a"))
    origin.serve("/copies/a", b"a,b\n")
    cache_urls.follow_options()
    for _ in range(2):
        changed("cache_url_root", "")
        assert origin.url("/copies") in (one("serving", Level.PROBLEM).remedy or "")
        cache_urls.follow_options()
    origin.serve("/copies/a", b"", status=404)
    assert bad("serving") == []


def test_an_upload_cannot_be_read() -> None:
    resource = factories.Resource()
    run("UPDATE resource SET url_type = 'upload', url = 'data.csv' WHERE id = :id", id=resource["id"])
    message = one("uploads", Level.PROBLEM).message
    assert resource["id"] in message
    assert "ckan.storage_path is" in message
    assert "upload-" not in message, "a sentence, not the name of a detail"


# -- the network -----------------------------------------------------------------------------------------------------


def test_the_portal_cannot_be_reached(changed: Callable[[str, str], None]) -> None:
    changed("ckan.site_url_internally", f"http://127.0.0.1:{free_port()}")
    one("portal", Level.WARNING)


def test_the_clock_of_the_web_server_differs(origin: Origin, changed: Callable[[str, str], None]) -> None:
    changed("ckan.site_url_internally", origin.url(""))
    headers = {"Date": "Tue, 15 Nov 1994 08:12:31 GMT"}
    origin.serve("/api/3/action/status_show", b"{}", content_type="application/json", headers=headers)
    assert "web server differ" in one("portal", Level.PROBLEM).message


def test_a_name_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    archival("http://gone.invalid/a.csv")

    def fails(*args: Any) -> None:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(network.socket, "getaddrinfo", fails)
    assert "gone.invalid" in one("links", Level.PROBLEM).message


def test_a_link_that_worked_cannot_be_reached(changed: Callable[[str, str], None]) -> None:
    changed("allowed_addresses", "127.0.0.0/8")
    archival(f"http://127.0.0.1:{free_port()}/a.csv")
    one("links", Level.WARNING)


def test_a_link_that_worked_is_refused_by_the_configuration(changed: Callable[[str, str], None]) -> None:
    changed("allowed_addresses", "10.0.0.0/8")
    archival(f"http://127.0.0.1:{free_port()}/a.csv")
    assert "allowed_addresses" in one("links", Level.WARNING).remedy


def test_the_proxy_is_away(changed: Callable[[str, str], None]) -> None:
    changed("ckan.download_proxy", f"http://user:secret@127.0.0.1:{free_port()}")
    report = one("proxy", Level.PROBLEM)
    assert "secret" not in report.message


def test_no_route(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text("Iface\tDestination\tGateway\neth0\t0000A8C0\t00000000\n")
    assert network._has_route(str(table), 1, "00000000") is False
    table.write_text("Iface\tDestination\tGateway\neth0\t00000000\t0100A8C0\n")
    assert network._has_route(str(table), 1, "00000000") is True
    assert network._has_route(str(tmp_path / "missing"), 1, "00000000") is None


def test_tls_without_server_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network.ssl, "HAS_SNI", False)
    one("TLS", Level.PROBLEM)


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_what_mends_it(cli: Any, changed: Callable[[str, str], None]) -> None:
    changed("broker_url", f"redis://127.0.0.1:{free_port()}/0")
    result = cli.invoke(ckan, ["archiver", "doctor"])
    assert result.exit_code == 1
    assert "problem  broker: The broker" in result.output
    assert "-> Start the broker" in result.output


def test_json(cli: Any) -> None:
    result = cli.invoke(ckan, ["archiver", "doctor", "--json"])
    found = json.loads(result.output.splitlines()[-1])
    assert {report["check"] for report in found} == set(doctor.CHECKS)
    assert set(found[0]) == {"check", "level", "message", "remedy", "fixed"}


def test_warnings_alone_give_exit_code_0(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"contact": lambda: [storage.warning("It is so.", "Do this.")]})
    assert cli.invoke(ckan, ["archiver", "doctor"]).exit_code == 0
    monkeypatch.setattr(doctor, "CHECKS", {"contact": lambda: [problem("It is so.", "Do this.")]})
    assert cli.invoke(ckan, ["archiver", "doctor"]).exit_code == 1
