"""Files in the archive: whole or not there, and never anywhere else."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from ckanext.archiver.engine import store
from ckanext.archiver.engine.failure import Failure
from ckanext.archiver.engine.outcome import Cause

ID = "0f3c5a52-6ad1-4a1e-9d9e-3f1a1f0f0001"


def kept(archive: Path, name: str = "data.csv", body: bytes = b"a,b\n") -> Path:
    temp = store.spool(archive, "w1") / "fetch-1"
    temp.write_bytes(body)
    temp.chmod(0o600)
    return store.keep(temp, archive, ID, name)


def files(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


def test_layout_and_mode(tmp_path: Path) -> None:
    path = kept(tmp_path)
    assert path == tmp_path / "0f" / ID / "data.csv"
    assert path.read_bytes() == b"a,b\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444 & ~_umask()
    assert files(tmp_path) == [f"0f/{ID}/data.csv"]


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_a_copy_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    kept(tmp_path, body=b"old")
    assert kept(tmp_path, body=b"new").read_bytes() == b"new"


def test_room_that_is_not_needed_is_given_back(tmp_path: Path) -> None:
    assert store.make_resource_dir(tmp_path, ID)
    assert not store.make_resource_dir(tmp_path, ID), "it is there, and may be another's"
    store.remove_empty_resource_dir(tmp_path, ID)
    assert not store.resource_dir(tmp_path, ID).exists()
    path = kept(tmp_path)
    store.remove_empty_resource_dir(tmp_path, ID)
    assert path.read_bytes() == b"a,b\n", "only what is empty goes"


def test_a_file_is_placed_although_its_room_was_taken_back(tmp_path: Path) -> None:
    temp = store.spool(tmp_path, "w1") / "fetch-1"
    temp.write_bytes(b"a,b\n")
    store.make_resource_dir(tmp_path, ID)
    store.remove_empty_resource_dir(tmp_path, ID)
    assert store.place(temp, tmp_path, ID, "data.csv").read_bytes() == b"a,b\n"


def test_free_bytes_are_looked_up_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([7, 5])
    monkeypatch.setattr(store, "free_bytes", lambda directory: next(found))
    assert [store.free_bytes_lately(tmp_path) for _ in range(3)] == [7, 7, 7]
    monkeypatch.setattr(store, "FREE_BYTES_SECONDS", -1)
    assert store.free_bytes_lately(tmp_path) == 5


def test_older_names_stay_until_the_row_names_the_new_one(tmp_path: Path) -> None:
    kept(tmp_path, "old.csv")
    path = kept(tmp_path, "new.csv")
    assert files(tmp_path) == [f"0f/{ID}/new.csv", f"0f/{ID}/old.csv"]
    store.remove_others(tmp_path, ID, str(path))
    assert files(tmp_path) == [f"0f/{ID}/new.csv"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "/etc/passwd", "x\0"])
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a file name"):
        kept(tmp_path, name)
    assert files(tmp_path) == [".tmp/w1/fetch-1"]


@pytest.mark.parametrize("resource_id", [f"urn:uuid:{ID}", f"{{{ID}}}", f"-{ID}", ID.replace("-", "")])
def test_every_id_that_ckan_takes_has_a_place(tmp_path: Path, resource_id: str) -> None:
    assert uuid.UUID(resource_id)
    assert store.resource_dir(tmp_path, resource_id) == tmp_path / resource_id[:2] / resource_id


@pytest.mark.parametrize("resource_id", ["", ".", "..", "../..", "a", "/x", "a/b", ".tmp", "x" * 201, "a\0b", "a b"])
def test_an_id_leads_nowhere_else(tmp_path: Path, resource_id: str) -> None:
    outside = tmp_path / "other"
    outside.mkdir()
    with pytest.raises(ValueError, match="not a resource id"):
        store.remove(tmp_path / "archive", resource_id)
    with pytest.raises(ValueError, match="not a resource id"):
        store.keep(outside / "f", tmp_path / "archive", resource_id, "f")
    assert outside.is_dir()


def test_remove(tmp_path: Path) -> None:
    kept(tmp_path)
    store.remove(tmp_path, ID)
    assert files(tmp_path) == []
    assert not (tmp_path / "0f").exists()
    store.remove(tmp_path, ID)  # nothing there is fine


def test_sweep_takes_what_dead_workers_left(tmp_path: Path) -> None:
    old = time.time() - 3_600
    for worker, age in (("dead", old), ("live", old), ("young", time.time())):
        left = store.spool(tmp_path, worker) / "fetch-1"
        left.write_bytes(b"half")
        os.utime(left, (age, age))
    assert store.sweep(tmp_path, 600, live={"live"}) == 1
    assert files(tmp_path) == [".tmp/live/fetch-1", ".tmp/young/fetch-1"]
    assert not (tmp_path / ".tmp" / "dead").exists()


def test_sweep_of_an_archive_that_is_not_there(tmp_path: Path) -> None:
    assert store.sweep(tmp_path / "none", 0) == 0


def test_free_bytes_of_a_directory_not_made_yet(tmp_path: Path) -> None:
    assert store.free_bytes(tmp_path / "a" / "b") == pytest.approx(store.free_bytes(str(tmp_path)), rel=0.1)


def test_cache_url() -> None:
    url = store.cache_url("https://data.example/cache/", ID, "Jährlich 2026 #1.csv")
    assert url == f"https://data.example/cache/0f/{ID}/J%C3%A4hrlich%202026%20%231.csv"


def test_sink_counts_and_hashes(tmp_path: Path) -> None:
    sink = store.Sink(tmp_path)
    for piece in (b"one", b"", b"two"):
        sink.write(piece)
    path = sink.finish()
    assert path is not None
    assert path.read_bytes() == b"onetwo"
    assert (sink.size, sink.sha256) == (6, hashlib.sha256(b"onetwo").hexdigest())
    assert sink.sha1 == hashlib.sha1(b"onetwo", usedforsecurity=False).hexdigest()
    sink.discard()
    assert path.exists()


def test_sink_without_a_place_keeps_nothing(tmp_path: Path) -> None:
    sink = store.Sink(None)
    sink.write(b"one")
    assert sink.finish() is None
    assert sink.size == 3


def test_sink_discards(tmp_path: Path) -> None:
    sink = store.Sink(tmp_path)
    sink.write(b"one")
    sink.discard()
    assert files(tmp_path) == []


def test_low_water_mark(tmp_path: Path) -> None:
    sink = store.Sink(tmp_path, min_free=1 << 60)
    with pytest.raises(Failure) as raised:
        sink.write(b"x")
    assert (raised.value.cause, raised.value.detail) == (Cause.OWN_FAULT, "disk-full")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "detail"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EIO, "disk-broken"),
        (errno.EROFS, "disk-broken"),
    ],
)
def test_a_failing_disk_is_our_own_fault(number: int, detail: str) -> None:
    failure = store.disk_failure(OSError(number, os.strerror(number)))
    assert (failure.cause, failure.detail) == (Cause.OWN_FAULT, detail)


def test_a_full_device_is_our_own_fault() -> None:
    """The kernel's own full disk: every write to /dev/full is ENOSPC."""
    sink = store.Sink(Path("/dev"))
    sink._handle = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(Failure, match="disk-full"):
        sink.write(b"x")
    sink.discard()


def test_a_killed_writer_leaves_no_half_copy(tmp_path: Path) -> None:
    """A process that dies in the middle of writing leaves a temp file to be swept, and no copy."""
    program = (
        "import os, pathlib\n"
        "from ckanext.archiver.engine import store\n"
        f"sink = store.Sink(store.spool({str(tmp_path)!r}, 'w9'))\n"
        "sink.write(b'x' * 100000)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == -9
    assert [name.split("/")[:2] for name in files(tmp_path)] == [[".tmp", "w9"]]
    assert store.sweep(tmp_path, 0) == 1
    assert files(tmp_path) == []
