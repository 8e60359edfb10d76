# ruff: noqa: S607 - mount is found on the path
"""The archive's disk is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from world import World, check_invariants


def test_below_the_low_water_mark_nothing_is_judged(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    world.add(20, broken_every=1000)
    world.request()
    with start("bulk", min_free_bytes=10**18):
        wait_until(
            lambda: world.scalar("SELECT count(*) FROM archiver_request WHERE held = 'disk-full'") == 20,
            timeout=30,
        )
    assert world.done() == 0
    assert world.origin.requests == []

    start("bulk")
    world.settle()
    check_invariants(world)


@pytest.fixture
def small_disk(archive_dir: Path) -> Iterator[Callable[[str], None]]:
    """A file system of 300 KB at ``archive_dir``; ``small_disk("10m")`` makes it larger."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "none", archive_dir],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr}")
    yield (lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", archive_dir], check=True) and None)
    subprocess.run(["umount", "--lazy", archive_dir], check=True)


def test_the_disk_gets_full_in_the_middle_of_a_round(
    world: World,
    small_disk: Callable[[str], None],
    start: Callable[..., Any],
    wait_until: Callable[..., None],
) -> None:
    world.add_urls([world.file(f"/{number}.csv", os.urandom(30_000)) for number in range(20)])
    world.request()
    start("bulk")
    wait_until(
        lambda: (
            world.done() >= 5
            and world.scalar("SELECT count(*) FROM archiver_request WHERE held = 'disk-full'") == 20 - world.done()
        ),
        timeout=30,
    )
    assert world.scalar("SELECT count(*) FROM archival WHERE verdict <> 'ok'") == 0

    small_disk("10m")
    world.settle()
    check_invariants(world)


@pytest.fixture
def mounted(archive_dir: Path, tmp_path: Path) -> Iterator[Callable[[bool], None]]:
    """A disk at ``archive_dir``; ``mounted(False)`` unmounts it and ``mounted(True)`` mounts it again."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(is_mounted: bool) -> None:
        command = ["mount", "--bind", disk, archive_dir] if is_mounted else ["umount", archive_dir]
        subprocess.run(command, capture_output=True, check=True)

    try:
        mount(True)
    except subprocess.CalledProcessError as e:
        pytest.skip(f"a file system cannot be mounted here: {e.stderr}")
    yield mount
    subprocess.run(["umount", "--lazy", archive_dir], capture_output=True, check=False)


def test_nothing_is_written_below_the_mount_point_of_an_archive_that_is_not_mounted(
    world: World,
    archive_dir: Path,
    mounted: Callable[[bool], None],
    start: Callable[..., Any],
    wait_until: Callable[..., None],
) -> None:
    first, *others = world.add_urls([world.file(f"/{number}.csv") for number in range(6)])
    world.request(resource_ids=[first])
    with start("bulk"):
        world.settle()
    asked = len(world.origin.requests)
    mounted(False)
    world.request(resource_ids=others)
    with start("bulk"):
        wait_until(
            lambda: world.scalar("SELECT count(*) FROM archiver_request WHERE held = 'disk-broken'") == len(others),
            timeout=30,
        )
    assert list(archive_dir.iterdir()) == []
    assert len(world.origin.requests) == asked

    mounted(True)
    start("bulk")
    world.settle()
    check_invariants(world)


def test_an_archive_is_unmounted_in_the_middle_of_a_round(
    world: World,
    archive_dir: Path,
    mounted: Callable[[bool], None],
    start: Callable[..., Any],
    wait_until: Callable[..., None],
) -> None:
    world.add(150, delay=0.02, broken_every=1000)
    world.request()
    start("bulk", "--concurrency=4")
    wait_until(lambda: world.done() >= 20, timeout=30)
    subprocess.run(["umount", "--lazy", archive_dir], check=True)
    wait_until(
        lambda: world.scalar("SELECT count(*) FROM archiver_request WHERE held = 'disk-broken'") >= 100, timeout=30
    )
    assert [path for path in archive_dir.rglob("*") if path.is_file()] == []

    mounted(True)
    world.settle(90)
    check_invariants(world, runs=None)
