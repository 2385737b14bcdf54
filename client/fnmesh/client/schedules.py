"""Schedules: jobs again and again. `mesh.schedules` of both faces of the client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnmesh.client.connection import Connection
from fnmesh.client.errors import SourceError
from fnmesh.client.jobs import function_job, script_job
from fnmesh.client.loop_thread import LoopThread
from fnmesh.client.names import workspace_name
from fnmesh.client.paging import collect
from fnmesh.invoke.v1 import job_pb2, schedule_pb2, schedule_service_pb2
from fnmesh.invoke.v1.schedule_service_pb2_grpc import ScheduleServiceStub

MISSED_RUNS = {"skip": schedule_pb2.MISSED_RUNS_SKIP, "once": schedule_pb2.MISSED_RUNS_ONCE}


class AsyncSchedules:
    """The schedules of a mesh, by identifier or resource name."""

    def __init__(self, connection: Connection, workspace: str) -> None:
        self._connection = connection
        self._workspace = workspace
        self._schedules = ScheduleServiceStub(connection.channel)

    async def add(
        self,
        cron: str,
        function: str | None = None,
        event: Any = None,
        *,
        script: str | Path | None = None,
        language: str | None = None,
        target: str | None = None,
        memory: str | int | None = None,
        time_zone: str = "",
        missed_runs: str = "skip",
        timeout: Any = None,
        max_attempts: int = 0,
        workspace: str | None = None,
    ) -> schedule_pb2.Schedule:
        """Has a job made of a function, or a script, at the times of a cron expression; see AsyncJobs.run.

        `missed_runs` is skip or once: what becomes of times at which the mesh was not running.
        """
        if (function is None) == (script is None):
            raise SourceError("A schedule needs a function or a script, and not both.")
        if missed_runs not in MISSED_RUNS:
            raise SourceError(f"'{missed_runs}' says nothing of missed runs; there are skip and once.")
        parent = workspace_name(workspace or self._workspace)
        job: job_pb2.Job
        if function is not None:
            job = function_job(function, workspace or self._workspace, event, timeout, max_attempts)
            parent = job.function.partition("/functions/")[0]
        else:
            job = await script_job(str(script), event, timeout, max_attempts, language, target, memory)
        schedule = schedule_pb2.Schedule(cron=cron, time_zone=time_zone, job=job, missed_runs=MISSED_RUNS[missed_runs])
        request = schedule_service_pb2.CreateScheduleRequest(parent=parent, schedule=schedule)
        return await self._connection.call(self._schedules.CreateSchedule, request)

    async def get(self, schedule: str) -> schedule_pb2.Schedule:
        """One schedule."""
        request = schedule_service_pb2.GetScheduleRequest(name=schedule_name(schedule))
        return await self._connection.call(self._schedules.GetSchedule, request)

    async def list(self, *, workspace: str | None = None) -> Sequence[schedule_pb2.Schedule]:
        """The schedules of a workspace, or of all with `-`, newest first."""
        request = schedule_service_pb2.ListSchedulesRequest(parent=workspace_name(workspace or self._workspace))
        return await collect(self._connection, self._schedules.ListSchedules, request, "schedules")

    async def delete(self, schedule: str) -> None:
        """Deletes a schedule; jobs that it made stay."""
        request = schedule_service_pb2.DeleteScheduleRequest(name=schedule_name(schedule))
        await self._connection.call(self._schedules.DeleteSchedule, request)


class Schedules:
    """The schedules of a mesh. Arguments, answers and errors are those of AsyncSchedules."""

    def __init__(self, schedules: AsyncSchedules, loop: LoopThread) -> None:
        self._schedules = schedules
        self._loop = loop

    def add(self, cron: str, function: str | None = None, event: Any = None, **more: Any) -> schedule_pb2.Schedule:
        """See AsyncSchedules.add."""
        return self._loop.run(self._schedules.add(cron, function, event, **more))

    def get(self, schedule: str) -> schedule_pb2.Schedule:
        """See AsyncSchedules.get."""
        return self._loop.run(self._schedules.get(schedule))

    def list(self, *, workspace: str | None = None) -> Sequence[schedule_pb2.Schedule]:
        """See AsyncSchedules.list."""
        return self._loop.run(self._schedules.list(workspace=workspace))

    def delete(self, schedule: str) -> None:
        """See AsyncSchedules.delete."""
        self._loop.run(self._schedules.delete(schedule))


def schedule_name(schedule: str) -> str:
    """`workspaces/-/schedules/{uid}` of an identifier; a resource name stays what it is."""
    return schedule if schedule.startswith("workspaces/") else f"workspaces/-/schedules/{schedule}"
