"""Requests to Spin components in a real host program: what is passed on, and what its failures become."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fnmesh.invoke.v1 import invoke_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2
from invoke_svc.connection import Connection
from mesh.errors import MeshError
from runtimes.spin.host import INSTANCE_KEY
from tests.support import invoke_mesh as kit
from tests.support import scripted_workload, wasmtime_host
from tests.support.errors_page import answers
from tests.support.invoke_mesh import Mesh
from tests.support.spin_tree import probe_wasm

pytestmark = pytest.mark.wasmtime
TOLD = answers("Spin components")


@pytest.fixture
async def mesh(tmp_run_dir: Path) -> AsyncIterator[Mesh]:
    # The host has the function's time limit: what it says when that has passed is waited for.
    async with kit.mesh_running(tmp_run_dir, invoke_grace_s=3) as running:
        yield running


@pytest.fixture
async def component(mesh: Mesh, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh with the function `hello`, which is the probe."""
    env = {INSTANCE_KEY: mesh.token.instance_key("in-fn-hello")}
    async with wasmtime_host.serving(probe_wasm(), tmp_path, env) as address:
        mesh.registry.put("fn-hello", runtime=function_pb2.RUNTIME_SPIN, timeout_s=1)
        mesh.deploy.put("in-fn-hello", "fn-hello", address, concurrency=10)
        await mesh.settled()
        yield mesh


def reason(answer: kit.Answer) -> str:
    return str(json.loads(answer.body)["reason"])


async def test_a_request_comes_as_it_was_sent(component: Mesh) -> None:
    answer = await component.http("POST", "/api/hello/more?echo", b"body", headers=[("x-mine", "1")])
    assert answer.status == 200
    assert b"x-mine: 1\n" in answer.body and answer.body.endswith(b"\nbody")
    streamed = await component.http("POST", "/api/hello?echo", [b"a" * 70_000, b"b"])
    assert streamed.status == 200 and streamed.body.endswith(b"aab")


async def test_failures_of_a_component_are_told_in_json(component: Mesh) -> None:
    trapped = await component.http("GET", "/api/hello?trap")
    assert (trapped.status, reason(trapped)) == (500, "COMPONENT_FAILED")
    assert trapped.content_type == "application/json"
    exhausted = await component.http("GET", "/api/hello?memory")
    assert (exhausted.status, reason(exhausted)) == (500, "COMPONENT_FAILED")
    crashes = TOLD["a component that crashes, or wants more memory than its limit"]
    assert json.loads(trapped.body)["detail"] == json.loads(exhausted.body)["detail"] == crashes
    for verb in ("loop", "sleep"):
        late = await component.http("GET", f"/api/hello?{verb}")
        assert (late.status, reason(late)) == (504, "TIMEOUT")
        assert json.loads(late.body)["detail"] == TOLD["a component that takes too long"]
    to_head = await component.http("HEAD", "/api/hello?trap")
    assert (to_head.status, to_head.body) == (500, b"")
    assert (await component.http("GET", "/api/hello?hello")).body == b"hello"


async def test_a_direct_invoke_posts_its_payload(component: Mesh) -> None:
    name = "workspaces/default/functions/hello"
    component.registry.put("fn-hello", runtime=function_pb2.RUNTIME_SPIN, timeout_s=1, path="hello?echo")
    await component.settled()
    answer = await component.public().Invoke(pb.InvokeRequest(name=name, payload=b'{"a": 1}'))
    assert answer.payload.endswith(b'\n{"a": 1}') and b"content-type: application/json\n" in answer.payload
    component.registry.put("fn-hello", runtime=function_pb2.RUNTIME_SPIN, timeout_s=1, path="hello?trap")
    await component.settled()
    with pytest.raises(MeshError) as failed:
        await component.public().Invoke(pb.InvokeRequest(name=name, payload=b"{}"))
    assert failed.value.reason == "COMPONENT_FAILED"


@pytest.mark.parametrize(
    ("head", "body", "passed_on"),
    [
        (("content-type: text/html; charset=UTF-8", "content-length: 205"), b"<" * 205, True),
        (("content-type: text/plain", "content-length: 2"), b"no", True),
        (("content-length: 0",), b"", False),
    ],
)
async def test_errors_that_a_component_answers_itself_are_its_own(
    mesh: Mesh, head: tuple[str, ...], body: bytes, passed_on: bool
) -> None:
    answer = "\r\n".join(("HTTP/1.1 500 Internal Server Error", *head, "", "")).encode() + body
    await mesh.function(scripted_workload.always(answer), runtime=function_pb2.RUNTIME_SPIN)
    got = await mesh.http()
    assert got.status == 500
    if passed_on:
        assert got.body == body
    else:
        assert reason(got) == "HANDLER_ERROR"
        assert json.loads(got.body)["detail"] == TOLD["a handle_request that raises"]


async def test_a_body_can_be_looked_at_before_it_is_read() -> None:
    connection = Connection(asyncio.get_running_loop(), lambda _: None)
    connection.busy = True
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
    assert await connection.peek(2) == b"ab"
    connection.data_received(b"cd")
    assert await connection.peek(100) == b"abcd"
    assert await connection.read() == b"abcd"
