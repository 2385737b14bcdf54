"""Schedules: kept, listed, and one job for each time however many processes look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fnmesh.invoke.v1 import job_pb2, schedule_pb2, schedule_service_pb2_grpc
from fnmesh.invoke.v1 import schedule_service_pb2 as pb
from invoke_svc.jobs.domain import Job, JobState, Kind, Language
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.schedules import Schedule, ScheduleStore, Ticking
from invoke_svc.jobs.store import JobStore, Page
from invoke_svc.jobs.tables import schedules
from invoke_svc.store import MIGRATIONS
from mesh.blobs import BlobStore, open_blobs
from mesh.db import Database
from mesh.errors import InvalidArgument, NotFound
from mesh.rpc_client import open_channel
from tests.support.invoke_mesh import Mesh


class Kit:
    """A database with schedules, and the loops of several processes over it."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self.database, self.blobs = database, blobs
        self.store = ScheduleStore(database)
        self.refusal: str | None = None

    def ticking(self) -> Ticking:
        return Ticking(self.database, self.blobs, JobHints(), lambda _: self.refusal)

    async def add(self, **fields: Any) -> Schedule:
        given = {"kind": Kind.FUNCTION, "function_uid": "fn-1", "make_up": True, "cron": "0 * * * *", **fields}
        uid = f"sc-{len(await self.store.page(100, '', None))}"
        return await self.store.create(
            Schedule(uid=uid, workspace_uid="ws-1", workspace_name="default", time_zone="", **given)
        )

    async def make_due(self) -> None:
        """Several times of the hourly ones of `add` have come; the clock is the database's own."""
        async with self.database.write() as conn:
            await conn.execute(schedules.update().values(next_due=schedules.c.next_due - 3 * 3600.0))

    async def jobs(self) -> list[Job]:
        return await JobStore(self.database).page(Page(100))


@pytest.fixture
async def kit(database_url: str, tmp_path: Path) -> AsyncIterator[Kit]:
    database = Database(database_url, schema="invoke")
    try:
        await database.migrate(MIGRATIONS)
        yield Kit(database, open_blobs(str(tmp_path / "blobs")))
    finally:
        await database.close()


async def test_a_time_makes_one_job_though_many_look_at_once(kit: Kit) -> None:
    made = [await kit.add() for _ in range(10)]
    assert await kit.ticking().step() is False
    assert await kit.jobs() == []
    await kit.make_due()
    await asyncio.gather(*(kit.ticking().step() for _ in range(6)))
    jobs = await kit.jobs()
    assert sorted(job.schedule_uid for job in jobs) == sorted(one.uid for one in made)
    assert {(job.state, job.max_attempts, job.kind) for job in jobs} == {(JobState.QUEUED, 1, Kind.FUNCTION)}
    now = await kit.store.get(made[0].uid)
    assert now is not None
    assert now.last_job in {job.uid for job in jobs}
    assert now.next_due > now.last_tick > 0


async def test_a_time_that_was_written_down_is_not_made_again(kit: Kit) -> None:
    """As after a change of the clock: the schedule is due again at a time that has its job."""
    schedule = await kit.add()
    await kit.make_due()
    await kit.ticking().step()
    async with kit.database.write() as conn:
        ticked = (await conn.execute(sa.select(schedules.c.last_tick))).scalar_one()
        await conn.execute(schedules.update().values(next_due=ticked))
    await kit.ticking().step()
    assert len(await kit.jobs()) <= 2
    now = await kit.store.get(schedule.uid)
    assert now is not None
    if now.last_tick == ticked:
        assert len(await kit.jobs()) == 1


async def test_missed_times_are_skipped_where_asked_for(kit: Kit) -> None:
    schedule = await kit.add(make_up=False, cron="0 0 1 1 *")
    async with kit.database.write() as conn:
        await conn.execute(schedules.update().values(next_due=1.0))
    await kit.ticking().step()
    assert await kit.jobs() == []
    now = await kit.store.get(schedule.uid)
    assert now is not None
    assert now.next_due == schedule.next_due


async def test_a_function_that_is_gone_is_said_and_makes_no_job(kit: Kit) -> None:
    schedule = await kit.add()
    kit.refusal = "FUNCTION_NOT_FOUND: The function was deleted."
    await kit.make_due()
    await kit.ticking().step()
    now = await kit.store.get(schedule.uid)
    assert now is not None
    assert (await kit.jobs(), now.error) == ([], kit.refusal)
    kit.refusal = None
    await kit.make_due()
    await kit.ticking().step()
    now = await kit.store.get(schedule.uid)
    assert now is not None
    assert (len(await kit.jobs()), now.error) == (1, "")


async def test_a_script_has_its_code_with_each_job(kit: Kit) -> None:
    await kit.add(kind=Kind.SCRIPT, language=Language.PYTHON, code=b"print(1)", timeout_s=300.0)
    await kit.make_due()
    await kit.ticking().step()
    (job,) = await kit.jobs()
    assert await kit.blobs.get(f"jobs/ws-1/{job.uid}.py") == b"print(1)"
    assert job.code_key == f"default/{job.uid[:8]}.py"


async def test_the_service(mesh: Mesh, kit_of_mesh: Any) -> None:
    stub = kit_of_mesh
    job = job_pb2.Job(function="workspaces/default/functions/hello", event=b'{"n": 1}')
    given = schedule_pb2.Schedule(cron="*/5  * * * *", time_zone="Europe/Berlin", job=job)
    made = await stub.CreateSchedule(pb.CreateScheduleRequest(parent="workspaces/default", schedule=given))
    assert made.name == f"workspaces/ws-1/schedules/{made.uid}"
    assert (made.cron, made.job.max_attempts, made.missed_runs) == ("*/5 * * * *", 3, schedule_pb2.MISSED_RUNS_SKIP)
    assert made.next_time.seconds % 300 == 0
    assert await stub.GetSchedule(pb.GetScheduleRequest(name=f"workspaces/-/schedules/{made.uid}")) == made
    for _ in range(2):
        await stub.CreateSchedule(pb.CreateScheduleRequest(parent="workspaces/default", schedule=given))
    first = await stub.ListSchedules(pb.ListSchedulesRequest(parent="workspaces/-", page_size=2))
    request = pb.ListSchedulesRequest(parent="workspaces/-", page_size=2, page_token=first.next_page_token)
    second = await stub.ListSchedules(request)
    assert [len(first.schedules), [one.uid for one in second.schedules]] == [2, [made.uid]]
    await stub.DeleteSchedule(pb.DeleteScheduleRequest(name=made.name))
    with pytest.raises(NotFound):
        await stub.GetSchedule(pb.GetScheduleRequest(name=made.name))
    for fields, reason in (
        ({"cron": "* * *"}, "CRON_INVALID"),
        ({"cron": "* * * * *\0"}, "CRON_INVALID"),
        ({"cron": "* * * * *", "time_zone": "Mars/Olympus"}, "TIME_ZONE_INVALID"),
    ):
        wrong = schedule_pb2.Schedule(job=job, **fields)
        with pytest.raises(InvalidArgument) as caught:
            await stub.CreateSchedule(pb.CreateScheduleRequest(parent="workspaces/default", schedule=wrong))
        assert caught.value.reason == reason


@pytest.fixture
async def kit_of_mesh(mesh: Mesh, kit: Any) -> Any:
    from tests.support.scripted_workload import always, says

    await mesh.function(always(says("HTTP/1.1 200 OK", body=b"ok")))
    assert mesh.running is not None
    channel = open_channel(mesh.running.address)
    mesh.stack.push_async_callback(channel.close)
    return schedule_service_pb2_grpc.ScheduleServiceStub(channel)
