"""Loops that own a piece of the mesh's work: run a step, wait, run it again, whatever it raises."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from mesh.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Backoff:
    """Seconds to wait after failures: `first_s`, doubled each time up to `limit_s`, less up to half by
    chance.
    """

    first_s: float = 0.2
    limit_s: float = 10.0

    def delay_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row (1 or more)."""
        full: float = min(self.limit_s, self.first_s * 2 ** min(failures - 1, 30))
        return full * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads retries, guards nothing


async def wait_for_wake(wake: asyncio.Event | None, timeout_s: float) -> None:
    """Returns when the event is set (and clears it) or the time is over."""
    if wake is None:
        await asyncio.sleep(timeout_s)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await wake.wait()
    wake.clear()


async def run_forever(
    step: Callable[[], Awaitable[bool | None]],
    *,
    interval_s: float,
    wake: asyncio.Event | None = None,
    backoff: Backoff = Backoff(),
    name: str = "",
) -> None:
    """Runs `step` until cancelled: again at once where it returns True, else after the interval or a wake-up.

    What it raises is logged, and the next run waits by the backoff; a wake-up does not cut that short.
    """
    failures = 0
    while True:
        try:
            again = await step()
            failures = 0
        except Exception as error:
            failures += 1
            log.exception("loop_step_failed", error, loop=name or getattr(step, "__qualname__", ""), failures=failures)
            await asyncio.sleep(backoff.delay_s(failures))
            continue
        if again:
            await asyncio.sleep(0)
        else:
            await wait_for_wake(wake, interval_s)


async def claim_loop(
    claim: Callable[[], Awaitable[T | None]],
    work: Callable[[T], Awaitable[None]],
    *,
    slots: int,
    interval_s: float,
    wake: asyncio.Event | None = None,
    backoff: Backoff = Backoff(),
    name: str = "",
) -> None:
    """Claims rows and works on at most `slots` of them at once, until cancelled.

    `claim` takes the next row (with its lease) or returns None; `work` does it. What `work` raises is logged:
    the row's lease runs out and it is claimed again. Cancelling the loop cancels the work.
    """
    free = asyncio.Semaphore(slots)

    async def one(row: T) -> None:
        try:
            await work(row)
        except Exception as error:
            log.exception("claimed_work_failed", error, loop=name)
        finally:
            free.release()

    async with asyncio.TaskGroup() as tasks:

        async def step() -> bool:
            await free.acquire()
            row: T | None = None
            try:
                row = await claim()
            finally:
                if row is None:
                    free.release()
            if row is None:
                return False
            tasks.create_task(one(row))
            return True

        await run_forever(step, interval_s=interval_s, wake=wake, backoff=backoff, name=name)
