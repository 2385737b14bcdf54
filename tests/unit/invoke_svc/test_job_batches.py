"""Group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from invoke_svc.jobs.batches import Batches


async def test_what_comes_while_a_batch_is_written_goes_into_one() -> None:
    written: list[list[int]] = []
    began = asyncio.Event()
    gate = asyncio.Event()

    async def write(items: Sequence[int]) -> Sequence[int]:
        written.append(list(items))
        began.set()
        await gate.wait()
        return [item * 10 for item in items]

    batches: Batches[int, int] = Batches(write, most=4)
    async with asyncio.TaskGroup() as tasks:
        adding = [tasks.create_task(batches.add(number)) for number in range(7)]
        await began.wait()
        gate.set()
    assert [task.result() for task in adding] == [number * 10 for number in range(7)]
    assert written[0] == [0] or written[0] == [0, 1, 2, 3]
    assert sorted(number for batch in written for number in batch) == list(range(7))
    assert all(len(batch) <= 4 for batch in written)
    assert len(written) <= 3


async def test_an_error_is_everybodys_of_its_batch_and_the_next_one_works() -> None:
    broken = True

    async def write(items: Sequence[int]) -> Sequence[int]:
        if broken:
            raise OSError("the disk is gone")
        return list(items)

    batches: Batches[int, int] = Batches(write)
    failed = await asyncio.gather(*(batches.add(number) for number in range(3)), return_exceptions=True)
    assert [type(error) for error in failed] == [OSError] * 3
    broken = False
    assert await batches.add(5) == 5


async def test_the_others_are_written_when_the_writer_is_cancelled() -> None:
    began = asyncio.Event()
    gate = asyncio.Event()

    async def write(items: Sequence[int]) -> Sequence[int]:
        began.set()
        await gate.wait()
        return list(items)

    batches: Batches[int, int] = Batches(write)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(batches.add(1))
        second = tasks.create_task(batches.add(2))
        await began.wait()
        first.cancel()
        gate.set()
        assert await second == 2
        with pytest.raises(asyncio.CancelledError):
            await first
