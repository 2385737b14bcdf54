"""Of who has no key the REST facade holds nothing, through a real Envoy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.door import Door, open_door
from tests.support.errors_page import answers

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATHS = ("/callbacks/", "/api/v1/push", "/api/v1/build", "/api/v1/build-and-push", "/api/upload", "/health")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed() -> AsyncIterator[Door]:
    run_dir = Path(tempfile.mkdtemp(prefix="fnm-", dir="/tmp"))
    try:
        async with open_door(run_dir, auth="keys") as door:
            yield door
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
async def test_a_body_without_a_key_is_not_read(keyed: Door, path: str, kind: str) -> None:
    """It is refused for the key, whatever it is: also where it would be too large, or no form."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20 * 16):
            yield b" " * 65_536

    async with keyed.client() as http:
        answer = await http.post(path, content=pieces(), headers={"content-type": kind})

    assert (answer.status_code, answer.json()["reason"]) == (401, "KEY_MISSING")
    assert len(answer.json()["trace_id"]) == 32


@pytest.mark.parametrize("key", [b"fnm_\xff\xfe", b"fnm_" + b"a" * 60_000])
async def test_what_cannot_be_a_key_is_none(keyed: Door, key: bytes) -> None:
    async with keyed.client() as http:
        answer = await http.get("/callbacks/", headers=[(b"authorization", b"Bearer " + key)])

    assert (answer.status_code, answer.json()["reason"]) == (401, "KEY_INVALID")
    assert answer.json()["detail"] == answers("Control calls and keys")["an unknown, revoked or expired key"]


async def test_what_needs_no_key_is_answered(keyed: Door) -> None:
    async with keyed.client() as http:
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/openapi.json")).status_code == 200
