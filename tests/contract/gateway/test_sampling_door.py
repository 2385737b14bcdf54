"""How many requests are traced, as a real Envoy does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.door import Door, open_door
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio


async def sampled_of(door: Door, requests: int) -> float:
    door.invoke.seen.clear()
    async with door.client() as client:
        for _ in range(requests):
            assert len((await client.get("/api/hello")).headers["x-trace-id"]) == 32
    return sum(seen.one("traceparent").endswith("-01") for seen in door.invoke.seen) / requests


async def test_all_are_traced_while_they_are_few_then_a_share(tmp_run_dir: Path) -> None:
    async with open_door(tmp_run_dir, trace_rate=10, trace_share=0.02) as door:
        assert await sampled_of(door, 5) == 1.0

        async def fewer() -> bool:
            return await sampled_of(door, 100) < 0.5

        await eventually(fewer, 20)

        async def all_again() -> bool:
            return await sampled_of(door, 3) == 1.0

        await eventually(all_again, 20, interval_s=0.5)


async def test_without_a_rate_and_a_share_none_is(tmp_run_dir: Path) -> None:
    async with open_door(tmp_run_dir, trace_rate=0, trace_share=0) as door:

        async def none() -> bool:
            return await sampled_of(door, 20) == 0

        await eventually(none)
        async with door.client() as client:
            asking = {"x-client-trace-id": "x", "x-request-id": "mine"}
            traced = await client.get("/api/hello", headers=asking)
        assert traced.status_code == 200
        assert door.invoke.seen[-1].one("traceparent").endswith("-00")
        assert door.invoke.seen[-1].one("x-request-id") == "mine"
