"""Waiting for something to become true, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_INTERVAL_S = 0.02


async def eventually(
    probe: Callable[[], T | Awaitable[T]], deadline_s: float = 60, *, interval_s: float = _INTERVAL_S
) -> T:
    """The first true result of `probe` (a function or a coroutine function).

    An AssertionError of the probe means "not yet". Raises AssertionError when `deadline_s` has passed, with
    the probe's last result or failed assertion.
    """
    end = time.monotonic() + deadline_s
    while True:
        try:
            answer = probe()
            if inspect.isawaitable(answer):
                left_s = max(end - time.monotonic(), interval_s)
                result: T = await asyncio.wait_for(answer, left_s)
            else:
                result = answer
            if result:
                return result
            last: object = result
        except AssertionError as error:
            last = error
        except TimeoutError:
            last = "the probe itself did not return"
        if time.monotonic() >= end:
            raise AssertionError(f"not true within {deadline_s:g} s; last: {last!r}")
        await asyncio.sleep(interval_s)


def eventually_sync(probe: Callable[[], T], deadline_s: float = 60, *, interval_s: float = _INTERVAL_S) -> T:
    """`eventually` for tests without a loop."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            result = probe()
            if result:
                return result
            last: object = result
        except AssertionError as error:
            last = error
        if time.monotonic() >= end:
            raise AssertionError(f"not true within {deadline_s:g} s; last: {last!r}")
        time.sleep(interval_s)
