"""What a killed builder leaves of a build that nobody claims again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from build_svc.scratch import Scratch
from build_svc.users import BuildUsers
from mesh.ids import new_sortable_id
from tests.support.eventually import eventually

_UID_BASE = 1_000_000 + os.getpid() % 1000 * 9000  # nobody else on this machine has these


async def test_directories_of_ended_builds_are_removed_and_others_stay(tmp_path: Path) -> None:
    ended, going_on = new_sortable_id(), new_sortable_id()
    for name in (ended, going_on):
        (tmp_path / name / "app").mkdir(parents=True)

    async def open_builds() -> Collection[str]:
        return {going_on}

    scratch = Scratch(tmp_path, BuildUsers(_UID_BASE))
    assert await scratch.remove_leftovers(open_builds) == 1
    assert await scratch.remove_leftovers(open_builds) == 0
    assert os.listdir(tmp_path) == [going_on]


@pytest.mark.root
async def test_so_are_their_processes(tmp_path: Path) -> None:
    build = new_sortable_id()
    (tmp_path / build).mkdir()
    os.chown(tmp_path / build, -1, _UID_BASE + 7)
    left = await _sleeping_as(_UID_BASE + 7)

    async def open_builds() -> Collection[str]:
        return ()

    assert await Scratch(tmp_path, BuildUsers(_UID_BASE)).remove_leftovers(open_builds) == 1
    assert await asyncio.wait_for(left.wait(), 10) < 0


@pytest.mark.root
async def test_builds_at_the_same_time_never_have_the_same_user(tmp_path: Path) -> None:
    """Not where their identifiers end alike, and not where two services share a machine."""
    one, other = (f"01a1fd7f-1ccd-7811-ab1d-{ending:012x}" for ending in (1, 1 + 8999))
    first, second = (Scratch(tmp_path / name, BuildUsers(_UID_BASE)) for name in ("first", "second"))

    async with first.of(one) as (_, uid), first.of(other) as (_, next_uid):
        running = await _sleeping_as(uid)
        async with second.of(one) as (_, theirs):
            assert len({uid, next_uid, theirs}) == 3
        assert running.returncode is None
        running.kill()
        await running.wait()
    async with second.of(other) as (_, again):
        assert again == uid


@pytest.mark.root
async def test_a_build_that_is_begun_again_ends_what_was_left_of_it(tmp_path: Path) -> None:
    build, taken = new_sortable_id(), BuildUsers(_UID_BASE)
    with taken.lent(build) as first:
        (tmp_path / build).mkdir()
        os.chown(tmp_path / build, -1, first or 0)
    left = await _sleeping_as(first)

    async with Scratch(tmp_path, BuildUsers(_UID_BASE)).of(build):
        assert await asyncio.wait_for(left.wait(), 10) < 0


async def _sleeping_as(uid: int | None) -> asyncio.subprocess.Process:
    assert uid is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", "import os, sys, time; os.setuid(int(sys.argv[1])); time.sleep(600)", str(uid)
    )
    await eventually(lambda: os.stat(f"/proc/{process.pid}").st_uid == uid)
    return process
