"""Waiting returns what was waited for, and says at its deadline what it saw last."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from tests.support.eventually import eventually, eventually_sync


async def test_it_returns_the_first_true_result() -> None:
    calls = count()
    assert await eventually(lambda: next(calls) >= 3 and "there") == "there"


async def test_a_probe_may_be_a_coroutine_function_and_may_assert() -> None:
    calls = count()

    async def probe() -> str:
        assert next(calls) >= 2
        return "there"

    assert await eventually(probe) == "there"


async def test_its_deadline_also_ends_a_probe_that_hangs() -> None:
    with pytest.raises(AssertionError, match="did not return"):
        await eventually(lambda: asyncio.sleep(60), deadline_s=0.05)


def test_what_was_seen_last_is_told() -> None:
    with pytest.raises(AssertionError, match=r"within 0.05 s; last: \[\]"):
        eventually_sync(list, deadline_s=0.05)
