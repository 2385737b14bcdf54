"""How much of a body the REST facade takes, through a real Envoy."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest

from gateway.rest.facade import BODY_BYTES
from gateway.rest.sources import CODE_BYTES
from tests.support.door import Door
from tests.support.errors_page import answers

pytestmark = pytest.mark.asyncio(loop_scope="module")
FUNCTIONS = "/api/workspaces/default/functions"


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 65_536


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(door: Door, chunked: bool) -> None:
    content = _pieces(BODY_BYTES // 65_536 + 1) if chunked else b" " * (BODY_BYTES + 1)
    async with door.client() as http:
        answer = await http.post(FUNCTIONS, content=content, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["reason"]) == (413, "BODY_TOO_LARGE")
    assert answer.json()["detail"] == answers("Control calls and keys")["a body over REST of more than 16 MiB"]
    assert door.echoes["build"].calls == door.echoes["registry"].calls == []


async def test_code_over_the_limit_is_refused_before_anybody_is_asked(door: Door) -> None:
    code = base64.b64encode(b"#" * (CODE_BYTES + 3)).decode()
    async with door.client() as http:
        body = json.dumps({"name": "x", "runtime": "python3.12", "code": code})
        answer = await http.post(FUNCTIONS, content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, [one["loc"] for one in answer.json()["detail"]]) == (422, [["body", "code"]])
    assert len(answer.content) < 10_000
    assert door.echoes["build"].calls == door.echoes["registry"].calls == []
