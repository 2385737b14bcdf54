"""Invoke and InvokeStream, and the records of runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import duration_pb2

from fnmesh.invoke.v1 import invoke_pb2
from fnmesh.invoke.v1 import invoke_service_pb2 as pb
from mesh.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from tests.support.eventually import eventually

OK = "HTTP/1.1 200 OK"
HELLO = "workspaces/default/functions/hello"


async def test_invoke_gives_what_the_handler_gave(mesh: Any, kit: Any) -> None:
    workload = await mesh.function(
        kit.always(kit.says("HTTP/1.1 201 C", "content-type: text/plain", "x-fn-error: no", "x-a: ü", body=b"hi"))
    )
    answer = await mesh.public().Invoke(pb.InvokeRequest(name=HELLO, payload=b'{"a": 1}'))
    assert (answer.status_code, answer.payload) == (201, b"hi")
    assert [(one.name, one.value) for one in answer.headers] == [("content-type", "text/plain"), ("x-a", "ü")]
    assert answer.duration.ToNanoseconds() > 0
    (heard,) = workload.heard
    assert (heard.method, heard.target, heard.body) == ("POST", "/.fnmesh/invoke", b'{"a": 1}')
    assert heard.header("content-type") == "application/json"
    assert heard.header("traceparent").split("-")[1] == answer.trace_id

    async def recorded() -> Any:
        try:
            return await mesh.public().GetExecution(pb.GetExecutionRequest(name=answer.execution))
        except NotFound:
            return None

    run = await eventually(recorded)
    assert (run.name, run.trigger, run.status_code) == (answer.execution, invoke_pb2.TRIGGER_DIRECT, 201)
    assert (run.request_bytes, run.response_bytes, run.instance, run.revision) == (8, 2, "in-fn-hello", 1)
    assert (run.trace_id, run.failed) == (answer.trace_id, True)


async def test_an_empty_payload_is_an_empty_object(mesh: Any, kit: Any) -> None:
    workload = await mesh.function(kit.always(kit.says(OK)))
    stub = mesh.public()
    await stub.Invoke(pb.InvokeRequest(name=HELLO))
    call = stub.InvokeStream(iter([pb.InvokeStreamRequest(start=pb.InvokeRequest(name=HELLO))]))
    assert [part.WhichOneof("part") async for part in call] == ["head", "end"]
    assert [heard.body for heard in workload.heard] == [b"{}", b"{}"]


@pytest.mark.parametrize("name", [HELLO, "workspaces/ws-1/functions/fn-hello", "workspaces/default/functions/fn-hello"])
async def test_names_by_identifier_or_display_name(mesh: Any, kit: Any, name: str) -> None:
    await mesh.function(kit.always(kit.says(OK)))
    assert (await mesh.public().Invoke(pb.InvokeRequest(name=name))).status_code == 200


async def test_a_function_that_the_watch_has_not_brought_yet(mesh: Any, kit: Any) -> None:
    mesh.registry.silent = True
    _, address = await mesh.workload(kit.always(kit.says(OK)))
    mesh.registry.put("fn-hello")
    mesh.deploy.put("in-1", "fn-hello", address)
    assert (await mesh.public().Invoke(pb.InvokeRequest(name=HELLO))).status_code == 200


async def test_an_error_of_the_handler_is_an_answer(mesh: Any, kit: Any) -> None:
    raw = kit.says("HTTP/1.1 500 E", "x-fn-error: handler", body=b'{"errorType": "ValueError"}')
    await mesh.function(kit.always(raw))
    answer = await mesh.public().Invoke(pb.InvokeRequest(name=HELLO))
    assert (answer.status_code, json.loads(answer.payload)) == (500, {"errorType": "ValueError"})


async def test_errors_of_the_platform_are_rpc_errors(mesh: Any, kit: Any) -> None:
    async def hang(heard: Any, writer: Any) -> None:
        await asyncio.Event().wait()

    async def hang_up(heard: Any, writer: Any) -> None:
        writer.close()

    await mesh.function(hang, timeout_s=5)
    await mesh.function(hang_up, uid="fn-dead")
    mesh.registry.put("fn-idle", revision=0)
    await mesh.settled()
    stub = mesh.public()
    with pytest.raises(DeadlineExceeded) as late:
        await stub.Invoke(pb.InvokeRequest(name=HELLO, timeout=duration_pb2.Duration(nanos=50_000_000)))
    assert late.value.reason == "TIMEOUT"
    with pytest.raises(FailedPrecondition) as idle:
        await stub.Invoke(pb.InvokeRequest(name="workspaces/default/functions/idle"))
    assert (idle.value.reason, idle.value.message) == ("NOT_DEPLOYED", "Function is not deployed")
    with pytest.raises(Internal) as dead:
        await stub.Invoke(pb.InvokeRequest(name="workspaces/default/functions/dead"))
    assert dead.value.reason == "WORKLOAD_CLOSED"
    with pytest.raises(NotFound):
        await stub.Invoke(pb.InvokeRequest(name="workspaces/default/functions/none"))
    with pytest.raises(InvalidArgument):
        await stub.Invoke(pb.InvokeRequest(name="hello"))
    with pytest.raises(InvalidArgument):
        await stub.Invoke(pb.InvokeRequest(name=HELLO, timeout=duration_pb2.Duration(seconds=-1)))
    call = stub.InvokeStream(iter([pb.InvokeStreamRequest(chunk=b"x")]))
    with pytest.raises(InvalidArgument) as start:
        await call.read()
    assert start.value.reason == "START_MISSING"


async def test_a_callers_time_limit_counts_in_a_cold_start_too(mesh: Any, kit: Any) -> None:
    mesh.registry.put("fn-hello", timeout_s=5)
    await mesh.settled()
    with pytest.raises(Unavailable) as cold:
        await mesh.public().Invoke(pb.InvokeRequest(name=HELLO, timeout=duration_pb2.Duration(nanos=50_000_000)))
    assert cold.value.reason == "NO_INSTANCE"


async def test_an_answer_too_large_for_unary(tmp_run_dir: Any, kit: Any) -> None:
    async with kit.mesh_running(tmp_run_dir, invoke_max_answer_bytes=1000) as mesh:
        await mesh.function(kit.always(kit.says(OK, body=b"x" * 1001)))
        with pytest.raises(ResourceExhausted) as large:
            await mesh.public().Invoke(pb.InvokeRequest(name=HELLO))
        assert large.value.reason == "ANSWER_TOO_LARGE"
        assert mesh.running.admission.inflight == 0


async def test_invoke_stream_both_ways(mesh: Any, kit: Any) -> None:
    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(kit.says("HTTP/1.1 202 A", "x-a: 1", body=heard.body))

    await mesh.function(script)
    piece = b"x" * 700_000

    async def parts() -> AsyncIterator[pb.InvokeStreamRequest]:
        yield pb.InvokeStreamRequest(start=pb.InvokeRequest(name=HELLO, payload=b"begin"))
        for _ in range(4):
            yield pb.InvokeStreamRequest(chunk=piece)

    received = [part async for part in mesh.public().InvokeStream(parts())]
    head, *chunks, end = received
    assert (head.head.status_code, head.head.headers[0].name) == (202, "x-a")
    assert b"".join(part.chunk for part in chunks) == b"begin" + piece * 4
    assert end.end.duration.ToNanoseconds() > 0 and end.end.execution == head.head.execution


async def test_a_stream_caller_who_goes_away_stops_the_work(mesh: Any, kit: Any) -> None:
    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await asyncio.Event().wait()

    await mesh.function(script)
    call = mesh.public().InvokeStream(iter([pb.InvokeStreamRequest(start=pb.InvokeRequest(name=HELLO))]))
    await call.read()
    call.cancel()
    await eventually(lambda: mesh.running.admission.inflight == 0)


async def test_an_image_gets_the_payload_at_its_path(mesh: Any, kit: Any) -> None:
    workload = await mesh.function(kit.always(kit.says(OK)), runtime=4)
    await mesh.public().Invoke(pb.InvokeRequest(name=HELLO, payload=b"[]"))
    assert (workload.heard[0].method, workload.heard[0].target) == ("POST", "/api/hello")


async def test_executions_are_listed_newest_first_in_pages(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK, body=b"abc")))
    for number in range(5):
        await mesh.http("POST", f"/api/hello/{number}?secret=1", b"12")
    stub = mesh.public()

    async def listed(token: str = "") -> Any:
        return await stub.ListExecutions(pb.ListExecutionsRequest(parent=HELLO, page_size=2, page_token=token))

    async def all_written() -> bool:
        answer = await stub.ListExecutions(pb.ListExecutionsRequest(parent=HELLO))
        return len(answer.executions) == 5

    await eventually(all_written)
    lines, token = [], ""
    for _ in range(3):
        page = await listed(token)
        lines += [one.request_line for one in page.executions]
        token = page.next_page_token
    assert lines == [f"POST /api/hello/{number}" for number in (4, 3, 2, 1, 0)]
    assert token == ""
    one = page.executions[0]
    assert (one.trigger, one.status_code, one.request_bytes, one.response_bytes) == (1, 200, 2, 3)
    with pytest.raises(InvalidArgument):
        await listed("bogus")
    with pytest.raises(NotFound):
        await stub.GetExecution(pb.GetExecutionRequest(name=HELLO + "/executions/none"))


async def test_scopes_and_workspaces(tmp_run_dir: Any, kit: Any) -> None:
    def key(scope: int, workspace: str = "") -> Any:
        return kit.registry_pb.VerifyApiKeyResponse(key_id="k", scopes=[scope], workspace=workspace)

    async with kit.mesh_running(tmp_run_dir, auth="keys") as mesh:
        await mesh.function(kit.always(kit.says(OK)))
        mesh.registry.keys.update(
            fnm_invoke=key(3), fnm_deploy=key(2), fnm_ws=key(3, "workspaces/ws-1"), fnm_other=key(3, "workspaces/ws-2")
        )
        stub = mesh.public()

        async def invoke(secret: str) -> Any:
            metadata = (("authorization", f"Bearer {secret}"),) if secret else ()
            return await stub.Invoke(pb.InvokeRequest(name=HELLO), metadata=metadata)

        assert (await invoke("fnm_invoke")).status_code == 200
        assert (await invoke("fnm_ws")).status_code == 200
        for secret in ("fnm_deploy", "fnm_other"):
            with pytest.raises(PermissionDenied):
                await invoke(secret)
        for secret in ("", "fnm_unknown"):
            with pytest.raises(Unauthenticated):
                await invoke(secret)
        with pytest.raises(PermissionDenied):
            await stub.ListExecutions(
                pb.ListExecutionsRequest(parent=HELLO), metadata=(("authorization", "Bearer fnm_other"),)
            )
