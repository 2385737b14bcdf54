"""The lane with the real Python server as the workload."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deploy_svc.prober import HttpProber
from fnmesh.invoke.v1 import invoke_service_pb2 as pb
from runtimes.catalog import Launch, Placement, command, install
from tests.support.eventually import eventually

HANDLER = """
import asyncio, time

async def handler(event, context):
    path = event.get("rawPath", "direct")
    if path.endswith("/fail"):
        raise ValueError("no")
    if path.endswith("/stream"):
        return pieces()
    if path.endswith("/slow"):
        await asyncio.sleep(30)
    if path.endswith("/stuck"):
        time.sleep(30)
    return {"statusCode": 200, "cookies": ["a=1", "b=2"], "body": path + ":" + str(event.get("body"))}

async def pieces():
    for number in range(3):
        yield f"piece {number};"
"""


@pytest.fixture
async def mesh(tmp_run_dir: Path, kit: Any) -> AsyncIterator[Any]:
    # The server has the function's time limit: what it says when that has passed is waited for.
    async with kit.mesh_running(tmp_run_dir, invoke_grace_s=3) as running:
        yield running


@pytest.fixture
async def real(mesh: Any, tmp_path: Path) -> Any:
    app = tmp_path / "app"
    app.mkdir()
    (app / "handler.py").write_text(HANDLER)
    server = install("python", tmp_path / "server")
    listen = mesh.run_dir / "real"
    launch = Launch("handler.py", "hello", "1", concurrency=4, timeout_ms=1000)
    argv = command("python", Placement(sys.executable, server.server, app, server.lib), f"unix:{listen}", launch)
    process = await asyncio.create_subprocess_exec(*argv)

    async def is_ready() -> bool:  # its socket is there sooner than that
        return (await HttpProber().ready(f"unix:{listen}", 5)).ready

    try:
        await eventually(is_ready)
        mesh.registry.put("fn-hello", timeout_s=1.0)
        mesh.deploy.put("in-1", "fn-hello", f"unix:{listen}", concurrency=4)
        await mesh.settled()
        yield mesh
    finally:
        process.kill()
        await process.wait()


async def test_http(real: Any) -> None:
    answer = await real.http("POST", "/api/hello/x", b"body", content_type="text/plain")
    assert (answer.status, answer.body) == (200, b"/api/hello/x:body")
    assert answer.header("set-cookie") == b"a=1|b=2"
    large = await real.http("POST", "/api/hello/x", [b"a" * 200_000, b"b" * 200_000], content_type="text/plain")
    assert large.body == b"/api/hello/x:" + b"a" * 200_000 + b"b" * 200_000
    assert (await real.http("HEAD", "/api/hello/x")).body == b""


async def test_errors_and_streams(real: Any) -> None:
    failed = await real.http(path="/api/hello/fail")
    assert (failed.status, json.loads(failed.body)["errorType"]) == (500, "ValueError")
    assert not [name for name, _ in failed.headers if name.startswith("x-fn")]
    streamed = await real.http(path="/api/hello/stream")
    assert streamed.body == b"piece 0;piece 1;piece 2;"


async def test_time_limits(real: Any) -> None:
    slow = await real.http(path="/api/hello/slow")
    assert (slow.status, json.loads(slow.body)["reason"]) == (504, "TIMEOUT")
    assert real.deploy.retired == []
    stuck = await real.http(path="/api/hello/stuck")
    assert (stuck.status, json.loads(stuck.body)["reason"]) == (504, "TIMEOUT")
    await eventually(lambda: real.deploy.retired)


async def test_direct_invokes(real: Any) -> None:
    request = pb.InvokeRequest(name="workspaces/default/functions/hello", payload=b'{"body": 7}')
    answer = await real.public().Invoke(request)
    assert (answer.status_code, answer.payload) == (200, b"direct:7")
