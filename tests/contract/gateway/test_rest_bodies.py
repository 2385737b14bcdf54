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
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (FUNCTIONS, "application/json"),
        ("/callbacks/", "multipart/form-data; boundary=x"),
        ("/api/v1/push", "multipart/mixed; boundary=x"),
    ],
)
async def test_a_body_over_the_limit_is_refused(door: Door, path: str, kind: str, chunked: bool) -> None:
    content = _pieces(BODY_BYTES // 65_536 + 1) if chunked else b" " * (BODY_BYTES + 1)
    async with door.client() as http:
        answer = await http.post(path, content=content, headers={"content-type": kind})

    assert (answer.status_code, answer.json()["reason"]) == (413, "BODY_TOO_LARGE")
    assert answer.json()["detail"] == answers("Control calls and keys")["a body over REST of more than 16 MiB"]
    assert door.echoes["build"].calls == door.echoes["registry"].calls == []


@pytest.mark.parametrize("path", ["/api/v1/build", "/api/v1/build-and-push"])
async def test_a_form_with_a_file_is_read_as_it_comes(door: Door, path: str) -> None:
    """It may be larger than a body that is read whole: this one is refused for what is not in it."""
    field = b'--x\r\ncontent-disposition: form-data; name="note"\r\n\r\n' + b" " * 65_000 + b"\r\n"

    async def form() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES // 65_000 + 1):
            yield field
        yield b"--x--\r\n"

    async with door.client() as http:
        answer = await http.post(path, content=form(), headers={"content-type": "multipart/form-data; boundary=x"})

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "workspace_id"])


async def test_code_over_the_limit_is_refused_before_anybody_is_asked(door: Door) -> None:
    code = base64.b64encode(b"#" * (CODE_BYTES + 3)).decode()
    async with door.client() as http:
        body = json.dumps({"name": "x", "runtime": "python3.12", "code": code})
        answer = await http.post(FUNCTIONS, content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, [one["loc"] for one in answer.json()["detail"]]) == (422, [["body", "code"]])
    assert len(answer.content) < 10_000
    assert door.echoes["build"].calls == door.echoes["registry"].calls == []
