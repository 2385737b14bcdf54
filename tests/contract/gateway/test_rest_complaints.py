"""What is wrong with a body is told within bounds, however much is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.door import Door

pytestmark = pytest.mark.asyncio(loop_scope="module")
GOOD = {"path": "x", "type": "python", "code": "def handler(event): return 1"}


@pytest.mark.parametrize(
    ("body", "complaints"),
    [
        ({**GOOD, "env": {f"K{number}": 1 for number in range(1000)}}, 100),
        ({**GOOD, "env": {f"K{number}": 1 for number in range(1001)}}, 1),
        ({**GOOD, "env": {f"K{number}": "1" for number in range(1001)}}, 1),
        ({f"K{number}": "x" * 100 for number in range(10_000)}, 3),
    ],
)
async def test_complaints_are_few_and_quote_nothing(door: Door, body: dict[str, Any], complaints: int) -> None:
    async with door.client() as http:
        answer = await http.post("/callbacks/", content=json.dumps(body), headers={"content-type": "application/json"})

    assert (answer.status_code, len(answer.json()["detail"])) == (422, complaints)
    assert len(answer.content) < 20_000
    assert {name for one in answer.json()["detail"] for name in one} == {"loc", "msg", "type"}
    assert door.echoes["build"].calls == door.echoes["registry"].calls == []
