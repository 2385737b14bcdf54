"""What a workspace's jobs may be and what becomes of them with it, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fnmesh.invoke.v1 import job_pb2, job_service_pb2_grpc, schedule_pb2, schedule_service_pb2_grpc
from fnmesh.invoke.v1 import job_service_pb2 as pb
from fnmesh.invoke.v1 import schedule_service_pb2 as pb2
from mesh.errors import ResourceExhausted
from mesh.rpc_client import open_channel
from tests.support.errors_page import answers
from tests.support.eventually import eventually
from tests.support.invoke_mesh import Mesh, mesh_running

WAITING = {"invoke_job_script_slots": 0, "invoke_job_orphans_s": 0.05, "invoke_job_queue_limit": 3}
PAGE = "Control calls and keys"
SCRIPT = job_pb2.Job(script=job_pb2.Script(code=b"print(1)", language=job_pb2.LANGUAGE_PYTHON))


@pytest.fixture
async def mesh(tmp_run_dir: Path, database_url: str) -> AsyncIterator[Mesh]:
    """A mesh that runs no scripts: those that are started wait."""
    async with mesh_running(tmp_run_dir, database_url=database_url, **WAITING) as running:
        yield running


@pytest.fixture
async def jobs(mesh: Mesh) -> AsyncIterator[Any]:
    assert mesh.running is not None
    async with open_channel(mesh.running.address) as channel:
        yield job_service_pb2_grpc.JobServiceStub(channel)


def made(workspace: str, *, start: bool = True, request_id: str = "") -> pb.CreateJobRequest:
    return pb.CreateJobRequest(parent=f"workspaces/{workspace}", job=SCRIPT, start=start, request_id=request_id)


async def states(jobs: Any, workspace: str = "-") -> list[str]:
    found = (await jobs.ListJobs(pb.ListJobsRequest(parent=f"workspaces/{workspace}"))).jobs
    return sorted(job_pb2.JobState.Name(one.state).removeprefix("JOB_STATE_") for one in found)


async def test_so_many_jobs_wait_and_no_more(jobs: Any) -> None:
    waiting = [await jobs.CreateJob(made("busy")) for _ in range(3)]
    for _ in range(2):
        with pytest.raises(ResourceExhausted) as full:
            await jobs.CreateJob(made("busy"))
        assert full.value.reason == "JOB_QUEUE_FULL"
        assert full.value.message == answers(PAGE)["one job more in the queue of a workspace than may wait there"]
    kept = await jobs.CreateJob(made("busy", start=False))
    with pytest.raises(ResourceExhausted):
        await jobs.StartJob(pb.StartJobRequest(name=kept.name))
    await jobs.CreateJob(made("calm"))
    cancelled = await jobs.CancelJob(pb.CancelJobRequest(name=waiting[0].name))

    async def let_in() -> bool:
        try:
            await jobs.StartJob(pb.StartJobRequest(name=kept.name))
        except ResourceExhausted:
            return False
        return True

    await eventually(let_in)
    assert await states(jobs, "busy") == ["CANCELLED", "QUEUED", "QUEUED", "QUEUED"]
    with pytest.raises(ResourceExhausted):
        await jobs.RedriveJob(pb.RedriveJobRequest(name=cancelled.name))


async def test_a_repeated_request_gets_its_job_also_when_the_queue_is_full(jobs: Any) -> None:
    first = await jobs.CreateJob(made("busy", request_id="once"))
    kept = await jobs.CreateJob(made("busy", start=False, request_id="kept"))
    for _ in range(2):
        await jobs.CreateJob(made("busy"))
    for _ in range(2):
        assert await jobs.CreateJob(made("busy", request_id="once")) == first
        assert await jobs.CreateJob(made("busy", request_id="kept")) == kept  # as it is: not started
        with pytest.raises(ResourceExhausted):
            await jobs.CreateJob(made("busy", request_id="another"))
    other = await jobs.CreateJob(made("calm", request_id="once"))

    assert other.name != first.name
    assert await states(jobs, "busy") == ["PENDING", "QUEUED", "QUEUED", "QUEUED"]


async def test_the_jobs_and_schedules_of_a_deleted_workspace_end(mesh: Mesh, jobs: Any) -> None:
    for workspace in ("gone", "here"):
        await jobs.CreateJob(made(workspace))
        await jobs.CreateJob(made(workspace, start=False))
    assert mesh.running is not None
    async with open_channel(mesh.running.address) as channel:
        schedules = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
        for workspace in ("gone", "here"):
            schedule = schedule_pb2.Schedule(cron="0 0 1 1 *", job=SCRIPT)
            await schedules.CreateSchedule(
                pb2.CreateScheduleRequest(parent=f"workspaces/{workspace}", schedule=schedule)
            )

        del mesh.registry.workspaces["ws-gone"]

        async def ended() -> bool:
            left = await schedules.ListSchedules(pb2.ListSchedulesRequest(parent="workspaces/-"))
            return (await states(jobs), len(left.schedules)) == (["CANCELLED", "CANCELLED", "PENDING", "QUEUED"], 1)

        await eventually(ended)
    cancelled = await jobs.ListJobs(pb.ListJobsRequest(parent="workspaces/-", states=[job_pb2.JOB_STATE_CANCELLED]))
    assert {one.workspace_display_name for one in cancelled.jobs} == {"gone"}
    assert {one.error for one in cancelled.jobs} == {"WORKSPACE_DELETED: The workspace of the job was deleted."}
