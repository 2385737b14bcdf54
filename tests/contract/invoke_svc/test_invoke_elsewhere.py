"""Direct invokes of functions that run outside the mesh, and the bodies that records keep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from fnmesh.invoke.v1 import invoke_pb2
from fnmesh.invoke.v1 import invoke_service_pb2 as pb
from mesh.errors import DeadlineExceeded, FailedPrecondition, MeshError, ResourceExhausted, Unavailable
from tests.support.errors_page import answers
from tests.support.eventually import eventually
from tests.support.invoke_mesh import mesh_running

HELLO = "workspaces/default/functions/hello"


@asynccontextmanager
async def elsewhere(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server with one answer (or none, ever), and the requests that it got."""
    seen: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        seen.append(head + await reader.readexactly(length))
        if answer is None:
            await over.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        over.set()
        server.close()


async def runs(mesh: Any, count: int) -> list[invoke_pb2.Execution]:
    async def listed() -> list[invoke_pb2.Execution]:
        request = pb.ListExecutionsRequest(parent=HELLO, with_bodies=True)
        found = list((await mesh.public().ListExecutions(request)).executions)
        return found if len(found) == count else []

    return await eventually(listed)


async def test_an_invoke_goes_where_the_function_runs(mesh: Any) -> None:
    answer = b"HTTP/1.1 201 C\r\ncontent-type: text/plain\r\nx-a: b\r\ncontent-length: 2\r\n\r\nhi"
    async with elsewhere(answer) as (url, seen):
        mesh.registry.put("fn-hello", revision=0, invocation_url=f"{url}/fn")
        await mesh.settled()
        got = await mesh.public().Invoke(pb.InvokeRequest(name=HELLO, payload=b'{"a": 1}'))
        again = await mesh.public().Invoke(pb.InvokeRequest(name=HELLO))

    assert (got.status_code, got.payload, again.status_code) == (201, b"hi", 201)
    headers = {one.name: one.value for one in got.headers}
    assert (headers["content-type"], headers["x-a"]) == ("text/plain", "b")
    assert seen[0].startswith(b"POST /fn HTTP/1.1\r\n")
    assert seen[0].endswith(b'\r\n\r\n{"a": 1}') and seen[1].endswith(b"\r\n\r\n{}")
    assert b"content-type: application/json\r\n" in seen[0].lower()
    _, run = await runs(mesh, 2)
    assert (run.trigger, run.status_code, run.failed, run.revision) == (invoke_pb2.TRIGGER_DIRECT, 201, False, 0)
    assert (run.request_bytes, run.response_bytes) == (8, 2)
    assert (run.request_body, run.response_body) == ('{"a": 1}', "hi")


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (None, DeadlineExceeded, "TIMEOUT"),
        (b"", Unavailable, "ENDPOINT_UNAVAILABLE"),
        (b"nonsense\r\n\r\n", Unavailable, "ENDPOINT_UNAVAILABLE"),
    ],
)
async def test_an_endpoint_that_does_not_answer(
    mesh: Any, answer: bytes | None, kind: type[MeshError], reason: str
) -> None:
    async with elsewhere(answer) as (url, _):
        mesh.registry.put("fn-hello", revision=0, invocation_url=url)
        await mesh.settled()
        limit = Duration(nanos=200_000_000) if answer is None else None
        with pytest.raises(kind) as refused:
            await mesh.public().Invoke(pb.InvokeRequest(name=HELLO, timeout=limit))
        assert refused.value.reason == reason
        (run,) = await runs(mesh, 1)
        assert run.failed and run.error.startswith(f"{reason}: ")


async def test_an_endpoint_where_nobody_is(mesh: Any) -> None:
    mesh.registry.put("fn-hello", revision=0, invocation_url="http://127.0.0.1:1")
    await mesh.settled()
    with pytest.raises(Unavailable) as refused:
        await mesh.public().Invoke(pb.InvokeRequest(name=HELLO))
    rows = answers("Control calls and keys")
    assert refused.value.message == rows["an invoke of a function whose `invocationUrl` does not answer"]


async def test_an_answer_that_is_too_large_and_one_that_leads_away(tmp_run_dir: Path) -> None:
    async with mesh_running(tmp_run_dir, invoke_max_answer_bytes=10) as mesh:
        async with elsewhere(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n" + b"x" * 11) as (url, _):
            mesh.registry.put("fn-hello", revision=0, invocation_url=url)
            await mesh.settled()
            with pytest.raises(ResourceExhausted, match="endpoint answered more than"):
                await mesh.public().Invoke(pb.InvokeRequest(name=HELLO))
        async with elsewhere(b"HTTP/1.1 302 F\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n") as (
            url,
            _,
        ):
            mesh.registry.put("fn-hello", revision=0, invocation_url=url)
            await mesh.settled()
            assert (await mesh.public().Invoke(pb.InvokeRequest(name=HELLO))).status_code == 302


async def test_what_is_deployed_here_runs_here(mesh: Any, kit: Any) -> None:
    workload = await mesh.function(
        kit.always(kit.says("HTTP/1.1 200 OK", body=b"here")), invocation_url="http://127.0.0.1:1"
    )
    assert (await mesh.public().Invoke(pb.InvokeRequest(name=HELLO))).payload == b"here"
    assert len(workload.heard) == 1


async def test_only_direct_invokes_go_elsewhere(mesh: Any) -> None:
    mesh.registry.put("fn-hello", revision=0, invocation_url="http://127.0.0.1:1")
    await mesh.settled()
    assert (await mesh.http()).status == 400
    call = mesh.public().InvokeStream(iter([pb.InvokeStreamRequest(start=pb.InvokeRequest(name=HELLO))]))
    with pytest.raises(FailedPrecondition, match="Function is not deployed"):
        await anext(aiter(call))


async def test_bodies_are_kept_only_as_far_as_they_may_be(tmp_run_dir: Path, kit: Any) -> None:
    async with mesh_running(tmp_run_dir, invoke_body_bytes_kept=8) as mesh:
        await mesh.function(kit.always(kit.says("HTTP/1.1 200 OK", body=b"0123456789")))
        await mesh.public().Invoke(pb.InvokeRequest(name=HELLO, payload=b'"short"'))
        await mesh.http(method="POST", body=b"unseen")
        lane, direct = await runs(mesh, 2)
        assert (direct.request_body, direct.response_body) == ('"short"', "01234567…")
        assert (lane.request_body, lane.response_body) == ("", "")
        without = await mesh.public().ListExecutions(pb.ListExecutionsRequest(parent=HELLO))
        assert {run.request_body for run in without.executions} == {""}
