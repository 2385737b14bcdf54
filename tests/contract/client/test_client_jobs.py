"""Jobs as the client's users see them, against a scripted mesh on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from fnmesh.client import AsyncMesh, FnmeshError, JobFailed
from fnmesh.invoke.v1 import job_pb2, job_service_pb2_grpc
from fnmesh.invoke.v1 import job_service_pb2 as pb

NAME = "workspaces/ws-1/jobs/1"


class Jobs(job_service_pb2_grpc.JobServiceServicer):
    """One job that goes through its states; the stream breaks once on its way."""

    def __init__(self) -> None:
        self.states = [job_pb2.Job(name=NAME, state=job_pb2.JOB_STATE_RUNNING)]
        self.breaks = 1
        self.asked: list[str] = []

    async def WatchJob(  # type: ignore[override]
        self, request: pb.WatchJobRequest, context: Any
    ) -> AsyncIterator[pb.WatchJobResponse]:
        self.asked.append(request.name)
        for job in self.states:
            yield pb.WatchJobResponse(job=job)
            if self.breaks:
                self.breaks -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    async def GetJobLog(  # type: ignore[override]
        self, request: pb.GetJobLogRequest, context: Any
    ) -> AsyncIterator[pb.GetJobLogResponse]:
        for chunk in (b"one\n", b"two\n"):
            yield pb.GetJobLogResponse(chunk=chunk)


@pytest.fixture
def scripted() -> Jobs:
    return Jobs()


@pytest.fixture
async def mesh(scripted: Jobs) -> AsyncIterator[AsyncMesh]:
    server = grpc.aio.server()
    job_service_pb2_grpc.add_JobServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with AsyncMesh(f"127.0.0.1:{port}") as client:
            yield client
    finally:
        await server.stop(0)


@pytest.mark.parametrize("said", [job_pb2.Job(name=NAME), NAME, "1"])
@pytest.mark.parametrize(("answer", "result"), [(b'{"a": 1}', {"a": 1}), (b"text", "text"), (b"", ""), (b"null", None)])
async def test_what_a_function_answered(
    mesh: AsyncMesh, scripted: Jobs, said: str | job_pb2.Job, answer: bytes, result: object
) -> None:
    scripted.states.append(job_pb2.Job(name=NAME, function="f", state=job_pb2.JOB_STATE_SUCCESS, result=answer))
    assert await mesh.jobs.result(said, timeout_s=30) == result
    assert set(scripted.asked) == {"workspaces/-/jobs/1" if said == "1" else NAME}


async def test_what_a_script_printed(mesh: AsyncMesh, scripted: Jobs) -> None:
    script = job_pb2.Script(code=b"print()")
    scripted.states.append(job_pb2.Job(name=NAME, script=script, state=job_pb2.JOB_STATE_SUCCESS))
    assert await mesh.jobs.result(NAME) == "one\ntwo\n"


async def test_a_job_that_does_not_succeed(mesh: AsyncMesh, scripted: Jobs) -> None:
    scripted.states.append(job_pb2.Job(name=NAME, state=job_pb2.JOB_STATE_DEAD, error="It raised."))
    with pytest.raises(JobFailed, match=r"^The job ended DEAD: It raised\.$") as failed:
        await mesh.jobs.result(NAME)
    assert failed.value.job.state == job_pb2.JOB_STATE_DEAD
    assert isinstance(failed.value, FnmeshError)
    assert (await mesh.jobs.wait(NAME)).error == "It raised."


async def test_a_job_that_is_not_waited_for_any_longer(mesh: AsyncMesh, scripted: Jobs) -> None:
    scripted.breaks = 1000
    with pytest.raises(TimeoutError):
        await mesh.jobs.wait(NAME, timeout_s=0.05)
