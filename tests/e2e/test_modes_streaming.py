"""Bodies in pieces: answers as they are made, large ones both ways, callers that go away."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fnmesh.client import Mesh
from tests.e2e.conftest import MakeSource
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

LARGE = 20 * 1024 * 1024
# Each piece waits for the test to have seen the one before it, so no timing is guessed.
EVENTS = """
    import asyncio, os

    async def handler(event):
        flag = event["queryStringParameters"]["flag"]
        for number in range(3):
            while number and not os.path.exists(f"{flag}{number}"):
                await asyncio.sleep(0.01)
            yield f"data: {number}\\n\\n"
"""
SYNC_EVENTS = (
    EVENTS.replace("import asyncio, os", "import os, time")
    .replace("async def", "def")
    .replace("await asyncio.sleep", "time.sleep")
)
NODE_EVENTS = """
    import { existsSync } from "node:fs";
    import { setTimeout as pause } from "node:timers/promises";
    export async function* handler(event) {
      const flag = event.queryStringParameters.flag;
      for (let number = 0; number < 3; number++) {
        while (number && !existsSync(`${flag}${number}`)) await pause(10);
        yield `data: ${number}\\n\\n`;
      }
    }
"""
SIZES = """
    import base64, hashlib

    def handler(event):
        body = event.get("body") or ""
        data = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
        return {"size": len(data), "digest": hashlib.sha256(data).hexdigest()}
"""
DOWNLOAD = """
    import base64

    def handler(event):
        data = bytes(range(256)) * (20 * 1024 * 1024 // 256)
        return {"statusCode": 200, "headers": {"content-type": "application/octet-stream"},
                "body": base64.b64encode(data).decode(), "isBase64Encoded": True}
"""
ENDLESS = """
    def handler(event):
        for _ in range(20):
            yield b"x" * 1024 * 1024
"""
WAITING = """
    import asyncio

    async def handler(event):
        print("began")
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            print("was cancelled")
            raise
        print("ended")
"""


@pytest.fixture
def flag(mesh: RunningMesh) -> Iterator[Path]:
    """A name that the handler's user can look at."""
    folder = mesh.data_dir / f"flags-{time.monotonic_ns()}"
    folder.mkdir()
    folder.chmod(0o755)
    yield folder / "seen"


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("pieces-async", "handler.py", EVENTS),
        ("pieces-sync", "handler.py", SYNC_EVENTS),
        pytest.param("pieces-node", "index.mjs", NODE_EVENTS, marks=pytest.mark.node),
    ],
)
def test_pieces_arrive_before_the_handler_ends(
    mesh: RunningMesh, http: httpx.Client, make_source: MakeSource, flag: Path, name: str, file: str, text: str
) -> None:
    mesh.cli("deploy", str(make_source(name, **{file: text})), "--target", "process")

    with http.stream("GET", f"/api/{name}", params={"flag": str(flag)}) as answer:
        assert answer.status_code == 200
        assert "content-length" not in answer.headers
        seen = []
        for piece in answer.iter_text():
            seen.append(piece)
            Path(f"{flag}{len(seen)}").touch()

    assert seen == [f"data: {number}\n\n" for number in range(3)]


def test_large_upload(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("sizes", **{"handler.py": SIZES})), "--target", "process", "--memory", "512Mi")
    data = bytes(range(256)) * (LARGE // 256)

    def pieces() -> Iterator[bytes]:
        for start in range(0, LARGE, 100_000):
            yield data[start : start + 100_000]

    wanted = {"size": LARGE, "digest": hashlib.sha256(data).hexdigest()}
    for content in (data, pieces()):
        answer = http.post("/api/sizes", content=content, headers={"content-type": "application/octet-stream"})
        assert answer.status_code == 200, answer.text[:500]
        assert answer.json() == wanted


def test_upload_that_is_too_large_is_refused(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("too-large", **{"handler.py": SIZES})), "--target", "process")
    try:
        answer = http.post("/api/too-large", content=(b"x" * 1024 * 1024 for _ in range(40)))
    except httpx.WriteError:  # the answer came, and the connection was closed, while this was still sending
        return
    assert answer.status_code == 413
    assert answer.json()["reason"]


def test_large_download(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    source = str(make_source("download", **{"handler.py": DOWNLOAD}))
    mesh.cli("deploy", source, "--target", "process", "--memory", "512Mi")
    whole = http.get("/api/download")
    assert whole.status_code == 200, whole.text[:500]
    assert whole.content == bytes(range(256)) * (LARGE // 256)
    assert int(whole.headers["content-length"]) == LARGE


def test_large_download_in_pieces(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("endless", **{"handler.py": ENDLESS})), "--target", "process")
    with http.stream("GET", "/api/endless") as answer:
        assert sum(len(piece) for piece in answer.iter_raw()) == LARGE


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_handler_is_cancelled_when_its_caller_goes_away(
    mesh: RunningMesh, client: Mesh, make_source: MakeSource, method: str
) -> None:
    name = f"waiting-{method.lower()}"
    mesh.cli("deploy", str(make_source(name, **{"handler.py": WAITING})), "--target", "process", "--timeout", "60s")

    def said() -> list[str]:
        return [entry.text for entry in client.logs(name)]

    if method == "POST":  # the body is not complete when the caller goes
        with pytest.raises(ConnectionAbortedError):
            httpx.post(f"{mesh.url}/api/{name}", content=_partial(), trust_env=False)
    with pytest.raises(httpx.ReadTimeout):
        httpx.request(method, f"{mesh.url}/api/{name}", timeout=5, trust_env=False)

    eventually_sync(lambda: "was cancelled" in said(), 30, interval_s=0.1)
    assert "ended" not in said()
    runs = eventually_sync(lambda: client.executions(name), 10, interval_s=0.2)
    assert (runs[0].status_code, runs[0].failed) == (499, True)
    assert "CANCELLED" in runs[0].error


def _partial() -> Iterator[bytes]:
    yield b"begun"
    raise ConnectionAbortedError


def test_answer_that_breaks_off_is_a_broken_answer(
    mesh: RunningMesh, http: httpx.Client, make_source: MakeSource
) -> None:
    text = """
        def handler(event):
            yield "one"
            raise RuntimeError("in the middle")
    """
    mesh.cli("deploy", str(make_source("breaks-off", **{"handler.py": text})), "--target", "process")
    with pytest.raises(httpx.RemoteProtocolError), http.stream("GET", "/api/breaks-off") as answer:
        assert answer.status_code == 200
        answer.read()
