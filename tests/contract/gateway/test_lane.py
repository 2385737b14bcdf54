"""The lane through a real Envoy: HTTP in, HttpService calls behind, HTTP out."""

from __future__ import annotations

import pytest

from tests.support.door import Answer, Door

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_get_reaches_the_unary_call(door: Door) -> None:
    async with door.client() as client:
        answer = await client.get("/api/hello?name=x")
    assert (answer.status_code, answer.text) == (200, "ok"), answer.text
    (seen,) = door.invoke.seen
    print(seen, answer.headers)
    assert (seen.lane, seen.method, seen.path) == ("unary", "GET", "/api/hello?name=x")
