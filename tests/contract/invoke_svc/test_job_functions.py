"""Jobs that invoke functions, over real gRPC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fnmesh.invoke.v1 import invoke_pb2, job_pb2, job_service_pb2_grpc
from fnmesh.invoke.v1 import invoke_service_pb2 as invoke_pb
from fnmesh.invoke.v1 import job_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2
from mesh.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from mesh.rpc_client import open_channel
from tests.support.eventually import eventually
from tests.support.invoke_mesh import Mesh, mesh_running

HELLO = "workspaces/default/functions/hello"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
RAISED = b"HTTP/1.1 500 Internal Server Error\r\nx-fn-error: handler\r\ncontent-length: 4\r\n\r\nboom"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
FAST = {
    "invoke_job_retry_first_s": 0.01,
    "invoke_job_retry_limit_s": 0.01,
    "invoke_job_poll_s": 0.05,
    "invoke_job_cancel_poll_s": 0.05,
    "invoke_cold_start_limit_s": 0.2,
}


@pytest.fixture
async def mesh(tmp_run_dir: Path) -> AsyncIterator[Mesh]:
    async with mesh_running(tmp_run_dir, **FAST) as running:
        yield running


@pytest.fixture
async def either(tmp_run_dir: Path, database_url: str) -> AsyncIterator[Mesh]:
    """The same on both databases, for what depends on more of them than test_job_queue.py looks at."""
    async with mesh_running(tmp_run_dir, database_url=database_url, **FAST) as running:
        yield running


def jobs_of(mesh: Mesh) -> Any:
    """A caller of JobService, who gets mesh errors raised."""
    assert mesh.running is not None
    channel = open_channel(mesh.running.address)
    mesh.stack.push_async_callback(channel.close)
    return job_service_pb2_grpc.JobServiceStub(channel)


def order(start: bool = True, request_id: str = "", **fields: Any) -> pb.CreateJobRequest:
    fields = {"function": HELLO, "event": b'{"n": 1}', **fields}
    return pb.CreateJobRequest(
        parent="workspaces/default", job=job_pb2.Job(**fields), start=start, request_id=request_id
    )


async def ended(stub: Any, job: job_pb2.Job) -> job_pb2.Job:
    """The job as the last message of a watch has it."""
    last = job
    async for message in stub.WatchJob(pb.WatchJobRequest(name=job.name)):
        if message.WhichOneof("message") == "job":
            last = message.job
    assert last.state >= job_pb2.JOB_STATE_SUCCESS
    return last


async def test_a_job_is_made_runs_and_is_there(either: Mesh, kit: Any) -> None:
    mesh = either
    workload = await mesh.function(kit.always(OK))
    stub = jobs_of(mesh)
    job = await stub.CreateJob(order())
    assert (job.state, job.function, job.max_attempts) == (
        job_pb2.JOB_STATE_QUEUED, "workspaces/ws-1/functions/fn-hello", 3,
    )  # fmt: skip
    assert job.name == f"workspaces/ws-1/jobs/{job.uid}"
    done = await ended(stub, job)
    assert (done.state, done.attempt, done.result, done.status_code, done.error) == (
        job_pb2.JOB_STATE_SUCCESS, 1, b"ok", 200, "",
    )  # fmt: skip
    assert done.create_time.ToMicroseconds() <= done.start_time.ToMicroseconds() <= done.end_time.ToMicroseconds()
    (heard,) = workload.heard
    assert (heard.target, heard.body) == ("/.fnmesh/invoke", b'{"n": 1}')
    assert job.trace_id in (heard.header("traceparent") or "")
    assert await stub.GetJob(pb.GetJobRequest(name=f"workspaces/-/jobs/{job.uid}")) == done

    async def recorded() -> invoke_pb2.Execution:
        return await mesh.public().GetExecution(invoke_pb.GetExecutionRequest(name=done.execution))

    async def there() -> bool:
        try:
            record = await recorded()
        except NotFound:
            return False
        return bool(record.trigger == invoke_pb2.TRIGGER_JOB and record.trace_id == job.trace_id)

    await eventually(there)


async def test_a_job_that_is_not_started_waits_until_it_is(mesh: Mesh, kit: Any) -> None:
    workload = await mesh.function(kit.always(OK))
    stub = jobs_of(mesh)
    job = await stub.CreateJob(order(start=False))
    assert job.state == job_pb2.JOB_STATE_PENDING
    started = await stub.StartJob(pb.StartJobRequest(name=job.name, event=b'{"n": 2}'))
    assert started.state == job_pb2.JOB_STATE_QUEUED
    with pytest.raises(Aborted, match="was started before"):
        await stub.StartJob(pb.StartJobRequest(name=job.name))
    assert (await ended(stub, job)).state == job_pb2.JOB_STATE_SUCCESS
    assert [heard.body for heard in workload.heard] == [b'{"n": 2}']


async def test_a_handler_that_raises_is_tried_again_and_then_dead_until_redriven(either: Mesh, kit: Any) -> None:
    mesh = either
    workload = await mesh.function(kit.always(RAISED))
    stub = jobs_of(mesh)
    dead = await ended(stub, await stub.CreateJob(order()))
    assert (dead.state, dead.attempt, len(workload.heard)) == (job_pb2.JOB_STATE_DEAD, 3, 3)
    assert dead.error == "HANDLER_ERROR: The handler raised an error."
    assert dead.result == b"boom"
    listed = await stub.ListJobs(pb.ListJobsRequest(parent="workspaces/-", states=[job_pb2.JOB_STATE_DEAD]))
    assert [job.name for job in listed.jobs] == [dead.name]
    workload.script = kit.always(OK)
    redriven = await stub.RedriveJob(pb.RedriveJobRequest(name=dead.name))
    assert (redriven.state, redriven.attempt) == (job_pb2.JOB_STATE_QUEUED, 0)
    done = await ended(stub, redriven)
    assert (done.state, done.attempt, done.result) == (job_pb2.JOB_STATE_SUCCESS, 1, b"ok")
    with pytest.raises(FailedPrecondition, match="this one is SUCCESS"):
        await stub.RedriveJob(pb.RedriveJobRequest(name=dead.name))


async def test_an_answer_that_says_that_the_event_is_wrong_is_not_tried_again(mesh: Mesh, kit: Any) -> None:
    workload = await mesh.function(kit.always(NOT_FOUND))
    stub = jobs_of(mesh)
    failed = await ended(stub, await stub.CreateJob(order()))
    assert (failed.state, failed.status_code, len(workload.heard)) == (job_pb2.JOB_STATE_FAILED, 404, 1)
    assert failed.error == "STATUS_404: The function answered 404."


async def test_a_job_that_takes_too_long(mesh: Mesh, kit: Any) -> None:
    async def silent(heard: Any, writer: Any) -> None:
        await heard.reader.read()

    await mesh.function(silent, timeout_s=0.1)
    stub = jobs_of(mesh)
    once = await ended(stub, await stub.CreateJob(order(max_attempts=1)))
    assert (once.state, once.error.partition(":")[0]) == (job_pb2.JOB_STATE_TIMEOUT, "TIMEOUT")


async def test_cancelling_stops_the_work(either: Mesh, kit: Any) -> None:
    mesh = either

    async def silent(heard: Any, writer: Any) -> None:
        await heard.reader.read()

    workload = await mesh.function(silent, timeout_s=60)
    stub = jobs_of(mesh)
    job = await stub.CreateJob(order())
    await eventually(lambda: len(workload.heard) == 1)
    marked = await stub.CancelJob(pb.CancelJobRequest(name=job.name))
    assert marked.cancelling or marked.state == job_pb2.JOB_STATE_CANCELLED
    await eventually(lambda: workload.open == 0)
    done = await ended(stub, job)
    assert (done.state, done.attempt, done.cancelling) == (job_pb2.JOB_STATE_CANCELLED, 1, False)
    assert (await stub.CancelJob(pb.CancelJobRequest(name=job.name))).state == job_pb2.JOB_STATE_CANCELLED


async def test_a_job_waits_for_an_instance_without_spending_attempts(mesh: Mesh, kit: Any) -> None:
    mesh.registry.put("fn-hello", timeout_s=0.05)
    await mesh.settled()
    stub = jobs_of(mesh)
    mesh.deploy.put("in-gone", "fn-hello", f"unix:{mesh.run_dir}/nobody")
    await mesh.settled()
    job = await stub.CreateJob(order(max_attempts=1))

    async def postponed() -> bool:
        now = await stub.GetJob(pb.GetJobRequest(name=job.name))
        return bool(now.state == job_pb2.JOB_STATE_QUEUED and now.retry_time.seconds and now.error)

    await eventually(postponed)
    await mesh.function(kit.always(OK))
    done = await ended(stub, job)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_SUCCESS, 1)


async def test_a_large_result_is_kept_whole(mesh: Mesh, kit: Any) -> None:
    body = b"x" * 200_000
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    await mesh.function(kit.always(answer))
    stub = jobs_of(mesh)
    done = await ended(stub, await stub.CreateJob(order()))
    assert done.result == body


async def test_a_request_id_makes_one_job(mesh: Mesh, kit: Any) -> None:
    workload = await mesh.function(kit.always(OK))
    stub = jobs_of(mesh)
    made = await asyncio.gather(*(stub.CreateJob(order(request_id="r")) for _ in range(5)))
    assert len({job.uid for job in made}) == 1
    await ended(stub, made[0])
    again = await stub.CreateJob(order(request_id="r"))
    assert (again.uid, again.state) == (made[0].uid, job_pb2.JOB_STATE_SUCCESS)
    assert len(workload.heard) == 1


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"event": b"{"}, InvalidArgument, "EVENT_INVALID"),
        ({"event": b'"' + b"x" * (1 << 20) + b'"'}, ResourceExhausted, "EVENT_TOO_LARGE"),
        ({"max_attempts": 101}, InvalidArgument, "ATTEMPTS_INVALID"),
        ({"function": "workspaces/default/functions/nobody"}, NotFound, "FUNCTION_NOT_FOUND"),
        ({"function": "hello"}, InvalidArgument, "NAME_INVALID"),
        ({"function": "workspaces/default/functions/stopped"}, FailedPrecondition, "NOT_DEPLOYED"),
        ({"request_id": "x" * 65}, InvalidArgument, "REQUEST_ID_INVALID"),
    ],
)
async def test_what_is_refused(mesh: Mesh, kit: Any, change: Any, error: type[Exception], reason: str) -> None:
    await mesh.function(kit.always(OK))
    mesh.registry.put("fn-stopped", revision=0)
    await mesh.settled()
    with pytest.raises(error) as caught:
        await jobs_of(mesh).CreateJob(order(**change))
    assert caught.value.reason == reason  # type: ignore[attr-defined]


async def test_a_job_needs_work_and_a_time_limit_above_zero(mesh: Mesh) -> None:
    stub = jobs_of(mesh)
    with pytest.raises(InvalidArgument, match="needs a script or a function"):
        await stub.CreateJob(pb.CreateJobRequest(parent="workspaces/default"))
    request = order()
    request.job.timeout.seconds = -1
    with pytest.raises(InvalidArgument, match="longer than zero"):
        await stub.CreateJob(request)
    with pytest.raises(NotFound, match="There is no job"):
        await stub.GetJob(pb.GetJobRequest(name="workspaces/default/jobs/none"))
    with pytest.raises(NotFound, match="no log"):
        async for _ in stub.GetJobLog(pb.GetJobLogRequest(log_key="jobs/x/../secrets.key")):
            pass


async def test_pages(either: Mesh, kit: Any) -> None:
    mesh = either
    await mesh.function(kit.always(OK))
    stub = jobs_of(mesh)
    made = {(await stub.CreateJob(order(start=False))).uid for _ in range(5)}
    seen: list[str] = []
    token = ""
    while True:
        page = await stub.ListJobs(pb.ListJobsRequest(parent="workspaces/default", page_size=2, page_token=token))
        seen += [job.uid for job in page.jobs]
        assert all(not job.event for job in page.jobs)
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == 5
    assert set(seen) == made
    with pytest.raises(InvalidArgument):
        await stub.ListJobs(pb.ListJobsRequest(parent="workspaces/-", page_token="nonsense"))


async def test_a_key_of_a_workspace_sees_and_makes_its_own_jobs_only(
    tmp_run_dir: Path, kit: Any, invoke_key: Any
) -> None:
    async with mesh_running(tmp_run_dir, auth="keys", **FAST) as mesh:
        mesh.registry.keys["fnm_mine"] = invoke_key
        invoke_key.workspace = "workspaces/ws-1"
        other = type(invoke_key)(key_id="k2", scopes=invoke_key.scopes, workspace="workspaces/ws-2")
        mesh.registry.keys["fnm_other"] = other
        await mesh.function(kit.always(OK))
        stub = jobs_of(mesh)
        mine, others = [[("authorization", f"Bearer fnm_{name}")] for name in ("mine", "other")]
        job = await stub.CreateJob(order(), metadata=mine)
        assert (await stub.GetJob(pb.GetJobRequest(name=job.name), metadata=mine)).uid == job.uid
        with pytest.raises(NotFound):
            await stub.GetJob(pb.GetJobRequest(name=job.name), metadata=others)
        with pytest.raises(PermissionDenied):
            await stub.CreateJob(order(), metadata=others)
        assert (await stub.ListJobs(pb.ListJobsRequest(parent="workspaces/-"), metadata=others)).jobs == []
        script = job_pb2.Job(script=job_pb2.Script(code=b"1", language=job_pb2.LANGUAGE_PYTHON))
        with pytest.raises(PermissionDenied, match="deploy"):
            await stub.CreateJob(pb.CreateJobRequest(parent="workspaces/default", job=script), metadata=mine)


async def test_many_jobs_run_once_each(either: Mesh, kit: Any) -> None:
    mesh = either
    seen: list[int] = []

    async def count(heard: Any, writer: Any) -> None:
        seen.append(json.loads(heard.body)["n"])
        writer.write(OK)

    await mesh.function(count, concurrency=20)
    stub = jobs_of(mesh)
    async with asyncio.TaskGroup() as tasks:
        for begin in range(10):

            async def make(begin: int = begin) -> None:
                for number in range(begin * 30, begin * 30 + 30):
                    await stub.CreateJob(order(event=b'{"n": %d}' % number))

            tasks.create_task(make())

    async def all_done() -> bool:
        page = await stub.ListJobs(
            pb.ListJobsRequest(parent="workspaces/default", page_size=1000, states=[job_pb2.JOB_STATE_SUCCESS])
        )
        return len(page.jobs) == 300

    await eventually(all_done, 60)
    assert sorted(seen) == list(range(300))


async def test_a_request_that_shall_not_be_waited_for_becomes_a_job(mesh: Mesh, kit: Any) -> None:
    workload = await mesh.function(kit.always(OK))
    answer = await mesh.http("POST", "/api/hello/there?x=1", b'{"n": 1}', headers=[("prefer", "respond-async")])
    told = json.loads(answer.body)
    assert (answer.status, answer.header("location")) == (202, f"/api/jobs/{told['job_id']}".encode())
    stub = jobs_of(mesh)
    done = await ended(stub, await stub.GetJob(pb.GetJobRequest(name=f"workspaces/-/jobs/{told['job_id']}")))
    assert (done.state, done.result) == (job_pb2.JOB_STATE_SUCCESS, b"ok")
    (heard,) = workload.heard
    event = json.loads(heard.body)
    assert (heard.target, event["rawPath"], event["rawQueryString"]) == ("/.fnmesh/invoke", "/api/hello/there", "x=1")
    assert event == json.loads(done.event)


async def test_a_workload_that_knows_no_events_gets_the_request_itself(mesh: Mesh, kit: Any) -> None:
    workload = await mesh.function(kit.always(OK), runtime=function_pb2.RUNTIME_IMAGE)
    pieces = [b"ab", b"cd" * 40_000]
    headers = [("prefer", "respond-async"), ("x-mine", "1")]
    answer = await mesh.http("PUT", "/api/hello?q", pieces, headers=headers, content_type="text/plain")
    assert answer.status == 202
    stub = jobs_of(mesh)
    await ended(
        stub, await stub.GetJob(pb.GetJobRequest(name=f"workspaces/-/jobs/{json.loads(answer.body)['job_id']}"))
    )
    (heard,) = workload.heard
    assert (heard.method, heard.target, heard.body) == ("PUT", "/api/hello?q", b"".join(pieces))
    assert (heard.header("x-mine"), heard.header("content-type")) == ("1", "text/plain")


async def test_a_request_too_large_for_a_job(mesh: Mesh, kit: Any) -> None:
    await mesh.function(kit.always(OK))
    answer = await mesh.http("POST", "/api/hello", [b"x" * 600_000] * 2, headers=[("prefer", "respond-async")])
    assert (answer.status, json.loads(answer.body)["reason"]) == (413, "EVENT_TOO_LARGE")
