"""Records of runs in files: what one process had not written, another one writes, and nobody writes twice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from invoke_svc.domain import Run, Trigger
from invoke_svc.executions import ExecutionRecorder
from invoke_svc.identity import new_run_uid
from invoke_svc.spool import Spool
from mesh.clock import FakeClock
from tests.support.eventually import eventually


class FakeStore:
    def __init__(self) -> None:
        self.broken = False
        self.runs: dict[str, Run] = {}

    async def append(self, runs: Sequence[Run], *, again: bool = False) -> None:
        if self.broken:
            raise OSError("no database")
        assert again or not self.runs.keys() & {run.uid for run in runs}
        self.runs.update({run.uid: run for run in runs})

    async def get(self, function_uid: str, uid: str) -> Run | None:
        return self.runs.get(uid)

    async def newest(self, function_uid: str, limit: int, before: str | None, *, bodies: bool = False) -> list[Run]:
        return []

    async def prune(self, function_uids: Sequence[str], kept: int, oldest: float) -> int:
        return 0


def run(number: int) -> Run:
    return Run(
        new_run_uid(number), Trigger.DIRECT, number, "t" * 32, "GET /api/ü\n", "fn-1", "workspaces/a/functions/b",
        3, "in-1", 0.5, 1.25, True, 502, True, 'a "reason"', 10, 20, "{\"a\": 1}", "\x00\ud83d",
    )  # fmt: skip


def left_behind(directory: Path) -> list[Run]:
    found = []
    for file in Spool(directory).left_behind():
        found += file.runs()
        file.close(written=False)
    return found


async def test_what_a_process_leaves_is_found_once_it_is_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "runs")
    runs = [run(number) for number in range(20)]
    for number, one in enumerate(runs):
        spool.add(one)
        if number == 10:
            await asyncio.sleep(0)
            assert left_behind(tmp_path / "runs") == []  # it is held
    spool.close()
    assert left_behind(tmp_path / "runs") == runs


async def test_nothing_is_left_of_what_is_in_the_database(tmp_path: Path) -> None:
    store, directory = FakeStore(), tmp_path / "runs"
    records = ExecutionRecorder(store, FakeClock(), Spool(directory), flush_interval_s=0.01, kept=10, kept_days=1)
    async with records.running():
        runs = [run(number) for number in range(3)]
        for one in runs:
            records.add(one)
            await eventually(lambda one=one: one.uid in store.runs)
    assert list(store.runs.values()) == runs
    assert list(directory.iterdir()) == []


async def test_while_there_is_no_database_all_is_kept_in_two_files(tmp_path: Path) -> None:
    store, spool, directory = FakeStore(), Spool(tmp_path / "runs"), tmp_path / "runs"
    records = ExecutionRecorder(store, FakeClock(), spool, flush_interval_s=60, kept=10, kept_days=1)
    store.broken = True
    runs = [run(number) for number in range(5)]
    for one in runs:
        records.add(one)
        try:
            await records.flush()
        except OSError:
            assert len(list(directory.iterdir())) <= 2
    spool.close()  # as if it was killed here
    store.broken = False
    other = ExecutionRecorder(store, FakeClock(), Spool(directory), flush_interval_s=0.01, kept=10, kept_days=1)
    async with other.running():
        await eventually(lambda: len(store.runs) == len(runs))
        await eventually(lambda: list(directory.iterdir()) == [])
    assert sorted(store.runs) == sorted(one.uid for one in runs)


async def test_what_was_in_the_database_already_is_not_counted_again(tmp_path: Path) -> None:
    store, spool, one = FakeStore(), Spool(tmp_path / "runs"), run(1)
    spool.add(one)
    spool.close()
    await store.append([one])  # it was killed between the commit and the end of the file
    records = ExecutionRecorder(store, FakeClock(), Spool(tmp_path / "runs"), flush_interval_s=60, kept=10, kept_days=1)
    await records.take_over()
    assert list(store.runs) == [one.uid]
    assert list((tmp_path / "runs").iterdir()) == []


async def test_a_line_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    spool, one = Spool(tmp_path / "runs"), run(1)
    spool.add(one)
    spool.close()
    (path,) = (tmp_path / "runs").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole + b'["not", "a", "run"]\n' + whole[: len(whole) // 2])
    assert left_behind(tmp_path / "runs") == [one]


async def test_where_no_file_can_be_written_records_are_taken_all_the_same(tmp_path: Path) -> None:
    store, directory = FakeStore(), tmp_path / "runs"
    directory.write_text("a file is in the way")
    records = ExecutionRecorder(store, FakeClock(), Spool(directory), flush_interval_s=0.01, kept=10, kept_days=1)
    async with records.running():
        records.add(run(1))
        await eventually(lambda: len(store.runs) == 1)
    assert os.listdir(tmp_path) == ["runs"]
