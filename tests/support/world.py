"""A portal for the fault tests: datasets made by SQL, an origin with known files, and :func:`check_invariants`, which
asserts the state that every test must end in."""

from __future__ import annotations

import collections
import hashlib
import json
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import archive_root
from origin_server import Answer, Origin, Request

OK, BROKEN = "ok", "broken"


@dataclass
class World:
    """What exists, and the result it must have."""

    engine: sa.engine.Engine
    archive_dir: Path
    heard_file: Path
    solr_url: str
    origin: Origin
    verdicts: dict[str, str] = field(default_factory=dict)
    """Resource id → the verdict it must end with."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    """URL → the file behind it."""
    datasets: dict[str, list[str]] = field(default_factory=dict)

    # -- making ------------------------------------------------------------------------------------------------

    def file(self, path: str, body: bytes | None = None, *, delay: float = 0, **how: Any) -> str:
        """Have the origin serve a file; returns its URL."""
        body = body if body is not None else (path * 50).encode()
        url = self.origin.url(path)
        self.bodies[url] = body
        answer = Answer(body, 200, {"Content-Type": "text/csv"}, delay, **how)
        return self.origin.answer(path, lambda request: answer)

    def add(self, count: int, *, per_dataset: int = 4, delay: float = 0, broken_every: int = 10) -> list[str]:
        """Make resources, some of which the origin does not have. Returns their ids."""
        urls = []
        for number in range(count):
            path = f"/{uuid.uuid4().hex[:6]}/file-{number}.csv"
            if number % broken_every == broken_every - 1:
                urls.append(self.origin.url(path))
            else:
                urls.append(self.file(path, delay=delay))
        return self.add_urls(urls, per_dataset=per_dataset)

    def add_urls(self, urls: Iterable[str], *, per_dataset: int = 4) -> list[str]:
        """Make resources with these URLs. What the origin has no file for is to end as broken."""
        urls = list(urls)
        resources = []
        with self.engine.begin() as connection:
            for start in range(0, len(urls), per_dataset):
                package_id = str(uuid.uuid4())
                connection.execute(sa.text(PACKAGE_SQL), {"id": package_id, "name": f"d-{package_id}"})
                self.datasets[package_id] = []
                for position, url in enumerate(urls[start : start + per_dataset]):
                    resource_id = str(uuid.uuid4())
                    params = {"id": resource_id, "package_id": package_id, "url": url, "position": position}
                    connection.execute(sa.text(RESOURCE_SQL), params)
                    self.datasets[package_id].append(resource_id)
                    self.verdicts[resource_id] = OK if url in self.bodies else BROKEN
                    resources.append(resource_id)
        return resources

    def request(self, queue: str = "bulk", resource_ids: list[str] | None = None) -> None:
        """Put requests for all resources, or for some, a minute old."""
        where = "" if resource_ids is None else "WHERE r.id = ANY(:ids)"
        statement = f"""
            INSERT INTO archiver_request (resource_id, package_id, queue, host, reason, requested_at)
            SELECT r.id, r.package_id, :queue, substring(r.url from '//([^:/]*)'), 'test', now() - interval '1 minute'
            FROM resource r {where}
            ON CONFLICT DO NOTHING
        """
        wake = """
            INSERT INTO archiver_host AS h (host, bulk_at) SELECT DISTINCT host, now() FROM archiver_request
            ON CONFLICT (host) DO UPDATE SET bulk_at = now()
        """
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), {"queue": queue, "ids": resource_ids})
            connection.execute(sa.text(wake))

    # -- looking -----------------------------------------------------------------------------------------------

    def seconds_to_start(self, resource_id: str) -> float:
        """Give a resource a URL on another host; returns the seconds from the commit to the first byte asked of it."""
        arrived: list[float] = []
        path = f"/{uuid.uuid4().hex}.csv"

        def answer(request: Request) -> Answer:
            arrived.append(request.at)
            return Answer(b"edited")

        url = self.origin.answer(path, answer).replace("127.0.0.1", "localhost")
        resource = model.Resource.get(resource_id)
        resource.url = url
        resource.url_changed = True  # as CKAN's actions do
        model.Session.add(resource)
        model.Session.commit()
        committed = time.monotonic()
        while not arrived and time.monotonic() < committed + 20:
            time.sleep(0.002)
        assert arrived, f"{resource_id} did not start within 20 s"
        return arrived[0] - committed

    def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(sql), params).mappings()]

    def scalar(self, sql: str, **params: Any) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(sa.text(sql), params).scalar()

    def run(self, sql: str, **params: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(sql), params)

    def done(self) -> int:
        """How many resources have an archival."""
        return int(self.scalar("SELECT count(*) FROM archival"))

    def heard(self) -> list[dict[str, Any]]:
        if not self.heard_file.exists():
            return []
        return [json.loads(line) for line in self.heard_file.read_text().splitlines()]

    def left(self) -> dict[str, int]:
        """What remains to be done; empty at the end."""
        counts = {
            "requests": "archiver_request",
            "notices": "archiver_notice",
            "stale facets": "archiver_dataset WHERE facet IS DISTINCT FROM indexed_facet",
        }
        return {
            what: found
            for what, table in counts.items()
            if (found := self.scalar(f"SELECT count(*) FROM {table}"))  # noqa: S608 - the table above
        }

    def settle(self, timeout: float = 60, between: Callable[[], object] = lambda: None) -> float:
        """Wait until :meth:`left` is empty, calling ``between`` now and then. Returns the seconds it took."""
        began = time.monotonic()
        while left := self.left():
            between()
            assert time.monotonic() - began < timeout, f"after {timeout} s still: {left} {self._stuck()}"
            time.sleep(0.1)
        return time.monotonic() - began

    def _stuck(self) -> list[dict[str, Any]]:
        return [
            {key: str(value) for key, value in row.items() if value}
            for table in ("archiver_request", "archiver_notice", "archiver_worker")
            for row in self.rows(f"SELECT * FROM {table} LIMIT 3")  # noqa: S608 - the tables above
        ]

    def facets(self) -> dict[str, str]:
        """Dataset id → its facet value in the search index. (The field is indexed, not stored.)"""
        return {
            package_id: value
            for value in ("ok", "broken", "failing", "not-sure", "none")
            for package_id in self._search(f'+archiver_status:"{value}"')
        }

    def _search(self, what: str) -> list[str]:
        query = {"q": what, "fq": "+site_id:archiver-test", "fl": "id", "rows": 100_000, "wt": "json"}
        with urllib.request.urlopen(f"{self.solr_url}/select?{urllib.parse.urlencode(query)}") as answer:
            return [document["id"] for document in json.load(answer)["response"]["docs"]]


def check_invariants(world: World, *, runs: int | None = 1) -> None:
    """Assert that nothing was lost, doubled or left behind.

    :param runs: how often each resource must have been judged; None accepts any number
    """
    # A dataset that two workers have indexed at the same moment is indexed once more.
    world.settle(30)
    _check_archivals(world, runs)
    _check_files(world)
    _check_heard(world)
    _check_index(world)


def _check_archivals(world: World, runs: int | None) -> None:
    rows = world.rows("SELECT a.*, r.url FROM archival a JOIN resource r ON r.id = a.resource_id")
    assert sorted(row["resource_id"] for row in rows) == sorted(world.verdicts), "one archival for each resource"
    for row in rows:
        said = (row["verdict"], row["detail"], row["source_url"])
        assert row["verdict"] == world.verdicts[row["resource_id"]], said
        assert row["source_url"] == row["url"]
        assert row["is_broken"] is {OK: False, BROKEN: True}.get(row["verdict"])
    if runs is not None:
        checks = world.rows(
            "SELECT resource_id, count(*) AS n FROM archival_check GROUP BY 1 HAVING count(*) <> :n", n=runs
        )
        assert checks == [], "exactly one effect"


def _check_files(world: World) -> None:
    temporary = [path for path in (world.archive_dir / ".tmp").rglob("*") if path.is_file()]
    assert temporary == [], "temporary files are left"
    copies = world.rows("SELECT resource_id, source_url, verdict, cache_filepath, sha256, size FROM archival")
    kept = {Path(row["cache_filepath"]): row for row in copies if row["cache_filepath"]}
    found = {path for path in world.archive_dir.rglob("*") if path.is_file() and path.name != archive_root.SENTINEL}
    assert found == set(kept), "a file without a row, or a row without a file"
    for path, row in kept.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert (digest, path.stat().st_size) == (row["sha256"], row["size"]), "the file is not what the row says"
        if row["source_url"] in world.bodies:
            assert digest == hashlib.sha256(world.bodies[row["source_url"]]).hexdigest(), "not the origin's bytes"
    for row in copies:
        assert (row["cache_filepath"] is not None) == (row["verdict"] == OK), row


def _check_heard(world: World) -> None:
    heard = collections.defaultdict(set)
    for event in world.heard():
        heard[event["operation"]].add(event.get("resource_id") or event.get("package_id"))
    assert heard["archived"] >= set(world.verdicts), "subscribers hear of each resource"
    assert heard["package-archived"] >= set(world.datasets), "subscribers hear of each dataset"


def _check_index(world: World) -> None:
    expected = {}
    for package_id, resource_ids in world.datasets.items():
        verdicts = {world.verdicts[resource_id] for resource_id in resource_ids}
        expected[package_id] = next((one for one in (BROKEN, "failing", "not-sure", OK) if one in verdicts), "none")
    # CKAN's commits to Solr become visible to searches a little later.
    deadline = time.monotonic() + 10
    while world.facets() != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    found = world.facets()
    wrong = {id: (found.get(id), value) for id, value in expected.items() if found.get(id) != value}
    assert wrong == {}, f"(found, expected): {wrong}"


PACKAGE_SQL = """
    INSERT INTO package (id, name, title, type, state, private, metadata_created, metadata_modified)
    VALUES (:id, :name, :name, 'dataset', 'active', false, timezone('utc', now()), timezone('utc', now()))
"""
RESOURCE_SQL = """
    INSERT INTO resource (id, package_id, url, format, name, description, hash, position, state, extras, url_type,
                          created, metadata_modified)
    VALUES (:id, :package_id, :url, 'CSV', '', '', '', :position, 'active', '{}', '', timezone('utc', now()),
            timezone('utc', now()))
"""
