"""Work that ends although its caller is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from mesh.cancellation import to_its_end


class Work:
    """Begins, waits for the gate, and has ended or failed."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.ended = False
        self._failure = failure

    async def run(self) -> int:
        self.begun.set()
        await self.gate.wait()
        self.ended = True
        if self._failure is not None:
            raise self._failure
        return 7


async def test_the_result_is_that_of_the_work() -> None:
    work = Work()
    work.gate.set()

    assert await to_its_end(work.run()) == 7


async def test_what_the_work_raises_is_raised() -> None:
    work = Work(ValueError("no"))
    work.gate.set()

    with pytest.raises(ValueError, match="no"):
        await to_its_end(work.run())


@pytest.mark.parametrize("failure", [None, ValueError("nobody looks at it")])
async def test_a_cancelled_caller_is_cancelled_when_the_work_has_ended(failure: Exception | None) -> None:
    work = Work(failure)
    caller = asyncio.ensure_future(to_its_end(work.run()))
    await work.begun.wait()

    for _ in range(3):  # however often
        caller.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not caller.done()
    work.gate.set()

    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.ended


async def test_work_that_was_cancelled_itself_cancels_its_caller() -> None:
    work: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    caller = asyncio.ensure_future(to_its_end(work))
    await asyncio.sleep(0)

    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_time_limit_counts_from_the_call_and_is_told_after_the_end() -> None:
    work = Work()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            asyncio.get_running_loop().call_soon(work.gate.set)
            await to_its_end(work.run())
    assert work.ended
