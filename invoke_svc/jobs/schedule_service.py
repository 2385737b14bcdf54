"""ScheduleService: messages in, messages out."""

from __future__ import annotations

from typing import Any

from fnmesh.invoke.v1 import job_pb2, schedule_pb2, schedule_service_pb2_grpc
from fnmesh.invoke.v1 import schedule_service_pb2 as pb
from invoke_svc.jobs import messages
from invoke_svc.jobs.creation import Creation, Order
from invoke_svc.jobs.cron import CronInvalid, TimeZoneInvalid
from invoke_svc.jobs.domain import Kind
from invoke_svc.jobs.schedules import Schedule, ScheduleStore
from invoke_svc.jobs.service import list_position, require_looking
from invoke_svc.jobs.workspaces import Workspaces
from mesh import names, pages
from mesh.auth import Scope, current_principal, require_scope
from mesh.errors import NotFound
from mesh.ids import new_id

SERVICE_NAME = "fnmesh.invoke.v1.ScheduleService"
_CRON_CHARACTERS = 128
_ZONE_CHARACTERS = 64


class ScheduleServicer(schedule_service_pb2_grpc.ScheduleServiceServicer):
    """See the .proto files for what each call means."""

    def __init__(self, store: ScheduleStore, creation: Creation, workspaces: Workspaces) -> None:
        self._store = store
        self._creation = creation
        self._workspaces = workspaces

    async def CreateSchedule(self, request: pb.CreateScheduleRequest, context: Any) -> schedule_pb2.Schedule:
        asked = request.schedule
        if len(asked.cron) > _CRON_CHARACTERS or not asked.cron.isprintable():
            messages.refuse("CRON_INVALID", "schedule.cron", "cron has at most 128 printable characters.")
        if len(asked.time_zone) > _ZONE_CHARACTERS or not asked.time_zone.isprintable():
            messages.refuse("TIME_ZONE_INVALID", "schedule.time_zone", "time_zone has at most 64 printable characters.")
        if int(asked.missed_runs) not in (0, 1, 2):
            messages.refuse("MISSED_RUNS_INVALID", "schedule.missed_runs", "missed_runs must be a value of the enum.")
        order = await self._creation.order(request.parent, asked.job)
        try:
            made = await self._store.create(_schedule(order, asked))
        except CronInvalid as error:
            messages.refuse("CRON_INVALID", "schedule.cron", str(error))
        except TimeZoneInvalid as error:
            messages.refuse("TIME_ZONE_INVALID", "schedule.time_zone", str(error))
        return to_message(made)

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Any) -> schedule_pb2.Schedule:
        return to_message(await self._find(request.name))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Any) -> pb.ListSchedulesResponse:
        (reference,) = names.parse(names.WORKSPACE, request.parent, field="parent")
        workspace = current_principal().workspace
        if reference != "-":
            workspace = (await self._workspaces.find(reference)).uid
        require_looking(workspace or None)
        size = pages.page_size(request.page_size)
        query = f"schedules {workspace}"
        position = pages.decode_token(query, request.page_token, (str, str))
        found = await self._store.page(size + 1, workspace, list_position(position) if position else None)
        more, found = len(found) > size, found[:size]
        return pb.ListSchedulesResponse(
            schedules=[to_message(one) for one in found],
            next_page_token=pages.encode_token(query, [repr(found[-1].created), found[-1].uid]) if more else "",
        )

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: Any) -> pb.DeleteScheduleResponse:
        schedule = await self._find(request.name)
        require_scope(Scope.DEPLOY if schedule.kind is Kind.SCRIPT else Scope.INVOKE, schedule.workspace_uid)
        await self._store.delete(schedule.uid)
        return pb.DeleteScheduleResponse()

    async def _find(self, name: str) -> Schedule:
        """The schedule of a resource name, which the caller may look at."""
        workspace, uid = names.parse(names.SCHEDULE, name)
        require_looking(None)
        schedule = await self._store.get(uid)
        bound = current_principal().workspace
        if schedule is None or (bound and bound != schedule.workspace_uid):
            raise _unknown(uid)
        if workspace not in ("-", schedule.workspace_uid, schedule.workspace_name):
            raise _unknown(uid)
        return schedule


def _schedule(order: Order, asked: schedule_pb2.Schedule) -> Schedule:
    job = order.job
    return Schedule(
        uid=new_id("sc-"),
        workspace_uid=job.workspace_uid,
        workspace_name=job.workspace_name,
        cron=" ".join(asked.cron.split()),
        time_zone=asked.time_zone,
        make_up=asked.missed_runs == schedule_pb2.MISSED_RUNS_ONCE,
        kind=job.kind,
        function_uid=job.function_uid,
        function_name=job.function_name,
        function_display_name=job.function_display_name,
        language=job.language,
        target=job.target,
        memory_bytes=job.memory_bytes,
        timeout_s=job.timeout_s,
        max_attempts=job.max_attempts,
        event=job.event,
        code=order.code,
    )


def to_message(schedule: Schedule) -> schedule_pb2.Schedule:
    """The schedule as the API has it."""
    job = job_pb2.Job(event=schedule.event, max_attempts=schedule.max_attempts)
    if schedule.kind is Kind.FUNCTION:
        job.function, job.function_display_name = schedule.function_name, schedule.function_display_name
    else:
        job.script.language = job_pb2.Language.ValueType(schedule.language)
        job.script.target = job_pb2.ScriptTarget.ValueType(schedule.target)
        job.script.memory_bytes = schedule.memory_bytes
    if schedule.timeout_s:
        job.timeout.FromMicroseconds(int(schedule.timeout_s * 1e6))
    parent = f"workspaces/{schedule.workspace_uid}"
    message = schedule_pb2.Schedule(
        name=f"{parent}/schedules/{schedule.uid}",
        uid=schedule.uid,
        workspace_display_name=schedule.workspace_name,
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        job=job,
        missed_runs=schedule_pb2.MISSED_RUNS_ONCE if schedule.make_up else schedule_pb2.MISSED_RUNS_SKIP,
        last_job=f"{parent}/jobs/{schedule.last_job}" if schedule.last_job else "",
        error=schedule.error,
    )
    for field, seconds in (
        (message.next_time, schedule.next_due),
        (message.last_time, schedule.last_tick),
        (message.create_time, schedule.created),
    ):
        if seconds:
            field.FromMicroseconds(int(seconds * 1e6))
    return message


def _unknown(uid: str) -> NotFound:
    return NotFound("SCHEDULE_NOT_FOUND", f"There is no schedule '{uid}'.")
