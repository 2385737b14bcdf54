"""What a killed builder leaves of a build that nobody claims again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from build_svc import sandbox
from build_svc.scratch import Scratch
from mesh.ids import new_sortable_id
from tests.support.eventually import eventually

_UID_BASE = 180_000


async def test_directories_of_ended_builds_are_removed_and_others_stay(tmp_path: Path) -> None:
    ended, going_on = new_sortable_id(), new_sortable_id()
    for name in (ended, going_on):
        (tmp_path / name / "app").mkdir(parents=True)

    async def open_builds() -> Collection[str]:
        return {going_on}

    scratch = Scratch(tmp_path, _UID_BASE)
    assert await scratch.remove_leftovers(open_builds) == 1
    assert await scratch.remove_leftovers(open_builds) == 0
    assert os.listdir(tmp_path) == [going_on]


@pytest.mark.root
async def test_so_are_their_processes(tmp_path: Path) -> None:
    build = new_sortable_id()
    (tmp_path / build).mkdir()
    left = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", "import os, sys, time; os.setuid(int(sys.argv[1])); time.sleep(600)",
        str(sandbox.build_uid(_UID_BASE, build)),
    )  # fmt: skip
    await eventually(lambda: os.stat(f"/proc/{left.pid}").st_uid >= _UID_BASE)

    async def open_builds() -> Collection[str]:
        return ()

    assert await Scratch(tmp_path, _UID_BASE).remove_leftovers(open_builds) == 1
    assert await asyncio.wait_for(left.wait(), 10) < 0
