"""Queues, cold starts, time limits, callers who go away, and instances that come and go."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.support.eventually import eventually

OK = "HTTP/1.1 200 OK"


def reason(answer: Any) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["reason"]


class Gate:
    """A script that answers when it is told to."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.open = asyncio.Event()
        self.waiting = 0
        self.most = 0

    async def __call__(self, heard: Any, writer: asyncio.StreamWriter) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1
        writer.write(self.answer)


async def test_concurrency_is_kept_and_the_rest_queues(mesh: Any, kit: Any) -> None:
    gate = Gate(kit.says(OK))
    await mesh.function(gate, concurrency=2)
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(mesh.http()) for _ in range(6)]
        await eventually(lambda: gate.waiting == 2 and mesh.running.admission.waiting == 4)
        gate.open.set()
    assert [call.result().status for call in calls] == [200] * 6
    assert gate.most == 2


async def test_a_full_queue_is_a_429(tmp_run_dir: Any, kit: Any) -> None:
    async with kit.mesh_running(tmp_run_dir, invoke_queue_limit=1) as mesh:
        gate = Gate(kit.says(OK))
        await mesh.function(gate, concurrency=1)
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(mesh.http()) for _ in range(2)]
            await eventually(lambda: mesh.running.admission.waiting == 1)
            refused = await mesh.http()
            gate.open.set()
        assert reason(refused) == (429, "QUEUE_FULL")
        assert refused.header("retry-after") == b"1"
        assert [call.result().status for call in calls] == [200, 200]


async def test_a_cold_start_is_waited_for(mesh: Any, kit: Any) -> None:
    _, address = await mesh.workload(kit.always(kit.says(OK, body=b"warm")))
    mesh.registry.put("fn-hello")
    await mesh.settled()
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(mesh.http())
        await eventually(lambda: mesh.running.admission.waiting == 1)
        mesh.deploy.put("in-1", "fn-hello", address)
    assert call.result().body == b"warm"
    runs = await executions(mesh, 1)
    assert runs[0].cold_start and runs[0].queue_duration.ToMilliseconds() > 0


async def test_no_instance_in_time_is_a_503(tmp_run_dir: Any, kit: Any) -> None:
    async with kit.mesh_running(tmp_run_dir, invoke_cold_start_limit_s=0.05) as mesh:
        mesh.registry.put("fn-hello", timeout_s=0.01)
        await mesh.settled()
        answer = await mesh.http()
        assert reason(answer) == (503, "NO_INSTANCE")
        assert answer.header("retry-after") == b"1"


async def test_a_busy_instance_for_too_long_is_a_504(tmp_run_dir: Any, kit: Any) -> None:
    # The first request has the same limit: its grace lets it wait for the second one.
    async with kit.mesh_running(tmp_run_dir, invoke_grace_s=30) as mesh:
        gate = Gate(kit.says(OK))
        await mesh.function(gate, concurrency=1, timeout_s=0.4)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(mesh.http())
            await eventually(lambda: gate.waiting == 1)
            answer = await mesh.http()
            gate.open.set()
    assert reason(answer) == (504, "TIMEOUT")
    assert first.result().status == 200


async def test_a_failed_deployment_is_told_at_once(mesh: Any, kit: Any) -> None:
    mesh.registry.put("fn-hello", timeout_s=30)
    await mesh.settled()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(mesh.http())
        await eventually(lambda: mesh.running.admission.waiting == 1)
        mesh.registry.put("fn-hello", timeout_s=30, deployment_state=5, deployment_message="No module named 'x'.")
    assert reason(waiting.result()) == (503, "DEPLOYMENT_FAILED")
    answer = await mesh.http()
    assert json.loads(answer.body)["detail"] == "No module named 'x'."
    assert answer.header("retry-after") is not None


async def test_an_old_instance_serves_although_the_new_revision_failed(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK)), deployment_state=5, revision=2)
    assert (await mesh.http()).status == 200


async def test_undeploying_sends_the_waiting_away(mesh: Any, kit: Any) -> None:
    mesh.registry.put("fn-hello", timeout_s=30)
    await mesh.settled()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(mesh.http())
        await eventually(lambda: mesh.running.admission.waiting == 1)
        mesh.registry.put("fn-hello", running=False)
    assert reason(waiting.result()) == (400, "NOT_DEPLOYED")


async def test_a_workload_that_does_not_answer_in_time_is_retired(mesh: Any, kit: Any) -> None:
    workload = await mesh.function(Gate(b""), timeout_s=0.1)
    answer = await mesh.http(headers=[("traceparent", f"00-{kit.TRACE}-b7ad6b7169203331-00")])
    assert reason(answer) == (504, "TIMEOUT")
    assert json.loads(answer.body)["trace_id"] == kit.TRACE
    await eventually(lambda: mesh.deploy.retired == [("in-fn-hello", "it did not answer within its time limit")])
    assert len(workload.heard) == 1


async def test_an_image_that_does_not_answer_is_not_retired(mesh: Any, kit: Any) -> None:
    await mesh.function(Gate(b""), timeout_s=0.1, runtime=4)
    await mesh.function(kit.always(kit.says("HTTP/1.1 504 T", "x-fn-timeout: stuck")), uid="fn-stuck")
    assert reason(await mesh.http()) == (504, "TIMEOUT")
    assert (await mesh.http(path="/api/stuck")).status == 504
    await eventually(lambda: [one for one, _ in mesh.deploy.retired] == ["in-fn-stuck"])


async def test_what_a_workload_says_of_its_time_limit(mesh: Any, kit: Any) -> None:
    workload = await mesh.function(kit.always(kit.says("HTTP/1.1 504 T", "x-fn-timeout: cancelled", body=b"x")))
    for _ in range(2):
        assert reason(await mesh.http()) == (504, "TIMEOUT")
    assert (workload.connections, mesh.deploy.retired) == (1, [])


async def test_a_stream_over_its_time_limit_is_reset(mesh: Any, kit: Any) -> None:
    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await asyncio.Event().wait()

    await mesh.function(script, timeout_s=0.1)
    answer = await mesh.http()
    assert (answer.status, answer.body, answer.reset) == (200, b"x", True)
    await eventually(lambda: mesh.deploy.retired)


async def test_a_caller_who_goes_away_stops_the_work(mesh: Any, kit: Any) -> None:
    gone = asyncio.Event()

    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await heard.reader.read()
        gone.set()

    await mesh.function(script)
    call = mesh.begin()
    await kit.head(call)
    call.cancel()
    await eventually(gone.is_set)
    await eventually(lambda: mesh.running.admission.inflight == 0)
    runs = await executions(mesh, 1)
    assert (runs[0].status_code, runs[0].failed) == (499, True)


async def test_a_caller_who_goes_away_in_the_queue_leaves_it(mesh: Any, kit: Any) -> None:
    mesh.registry.put("fn-hello", timeout_s=30)
    await mesh.settled()
    call = mesh.begin()
    await eventually(lambda: mesh.running.admission.waiting == 1)
    call.cancel()
    await eventually(lambda: mesh.running.admission.waiting == 0)


async def test_not_started_goes_to_another_instance(mesh: Any, kit: Any) -> None:
    full = kit.says("HTTP/1.1 503 Busy", "x-fn-not-started: 1", body=b"busy")
    busy = await mesh.function(kit.always(full))
    other, address = await mesh.workload(kit.always(kit.says(OK, body=b"other")), "other")
    call = mesh.begin("POST", body=[b"some", b"thing"])
    await eventually(lambda: len(busy.heard) >= 2)
    mesh.deploy.put("in-2", "fn-hello", address)
    answer = await kit.finished(call)
    assert (answer.status, answer.body) == (200, b"other")
    assert {heard.body for heard in (*busy.heard, *other.heard)} == {b"something"}
    assert mesh.running.admission.inflight == 0


async def test_an_unreachable_instance_costs_nothing_where_there_is_another(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK)))
    mesh.deploy.put("in-0", "fn-hello", f"unix:{mesh.run_dir}/nobody")
    await mesh.settled()
    for _ in range(4):
        assert (await mesh.http("POST", body=b"x")).status == 200


async def test_an_idle_connection_that_died_is_replaced(mesh: Any, kit: Any) -> None:
    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(kit.says(OK))
        await writer.drain()
        writer.close()

    workload = await mesh.function(script)
    for number in range(1, 4):
        assert (await mesh.http("POST", body=b"x")).status == 200
        await eventually(lambda: workload.open == 0)
        assert workload.connections == number


async def test_draining_is_acknowledged_and_released_after_the_last_request(mesh: Any, kit: Any) -> None:
    gate = Gate(kit.says(OK, body=b"old"))
    await mesh.function(gate)
    old = mesh.deploy.endpoints["in-fn-hello"].address
    _, new = await mesh.workload(kit.always(kit.says(OK, body=b"new")), "new")
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(mesh.http())
        await eventually(lambda: gate.waiting == 1)
        mesh.deploy.put("in-2", "fn-hello", new, revision_number=2)
        mesh.deploy.put("in-fn-hello", "fn-hello", old, accepting=False)
        await eventually(lambda: mesh.deploy.applied == mesh.deploy.version)
        assert mesh.deploy.released == []
        assert (await mesh.http()).body == b"new"
        gate.open.set()
        await eventually(lambda: mesh.deploy.released == ["in-fn-hello"])
    assert call.result().body == b"old"
    mesh.deploy.remove("in-fn-hello")
    await eventually(lambda: mesh.deploy.applied == mesh.deploy.version)


async def test_an_idle_instance_is_released_with_the_acknowledgement(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK)))
    await mesh.http()
    mesh.deploy.put("in-fn-hello", "fn-hello", mesh.deploy.endpoints["in-fn-hello"].address, accepting=False)
    await eventually(lambda: mesh.deploy.released == ["in-fn-hello"])


async def test_requests_go_on_while_deploy_svc_is_away(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK)))
    await mesh.function(kit.always(kit.says(OK)), uid="fn-gone", timeout_s=0.1)
    await mesh.stop_deploy()
    assert (await mesh.http()).status == 200
    del mesh.deploy.endpoints["in-fn-gone"]
    await mesh.start_deploy()
    await eventually(lambda: len(mesh.deploy.hellos) == 2)
    assert mesh.deploy.hellos[0] == mesh.deploy.hellos[1]
    await mesh.settled()
    assert (await mesh.http()).status == 200
    assert mesh.running.admission.is_cold(mesh.running.routes.get("fn-gone"))


async def test_routes_follow_the_registry(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK)))
    mesh.registry.put("fn-hello", path="moved")
    await mesh.settled()
    assert (await mesh.http(path="/api/hello")).status == 404
    assert (await mesh.http(path="/api/moved")).status == 200
    mesh.registry.put("fn-hello", path="moved", deleted=True)
    await mesh.settled()
    assert (await mesh.http(path="/api/moved")).status == 404


async def test_a_reset_leaves_no_moment_without_routes(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK)))
    await mesh.function(kit.always(kit.says(OK)), uid="fn-gone")
    del mesh.registry.snapshots["fn-gone"]
    mesh.registry.reset_next = True
    mesh.registry.break_streams()

    async def gone() -> bool:
        assert (await mesh.http()).status == 200
        return bool((await mesh.http(path="/api/gone")).status == 404)

    await eventually(gone)


async def test_an_orderly_stop_ends_requests_and_writes_their_records(tmp_run_dir: Any, kit: Any) -> None:
    gate = Gate(kit.says(OK, body=b"done"))
    async with asyncio.TaskGroup() as tasks:
        async with kit.mesh_running(tmp_run_dir, invoke_flush_interval_s=60.0) as mesh:
            await mesh.function(gate)
            call = tasks.create_task(mesh.http())
            await eventually(lambda: gate.waiting == 1)
            gate.open.set()
            await call
        assert call.result().body == b"done"
    async with kit.mesh_running(tmp_run_dir) as mesh:
        mesh.registry.put("fn-hello")
        await mesh.settled()
        assert len(await executions(mesh, 1)) == 1


async def executions(mesh: Any, count: int, function: str = "hello") -> Any:
    """The records of a function, once there are so many."""
    from fnmesh.invoke.v1 import invoke_service_pb2 as pb

    stub = mesh.public()

    async def enough() -> Any:
        parent = f"workspaces/default/functions/{function}"
        answer = await stub.ListExecutions(pb.ListExecutionsRequest(parent=parent))
        return answer.executions if len(answer.executions) >= count else None

    return await eventually(enough)
