"""JobService: messages in, messages out."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from fnmesh.invoke.v1 import job_pb2, job_service_pb2_grpc
from fnmesh.invoke.v1 import job_service_pb2 as pb
from invoke_svc.jobs import messages
from invoke_svc.jobs.creation import Creation, code_blob
from invoke_svc.jobs.domain import Job, JobState, Kind
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.lines import JobLines
from invoke_svc.jobs.store import JobStore, Page
from invoke_svc.jobs.workspaces import Workspaces
from mesh import names, pages
from mesh.auth import Scope, current_principal, require_scope
from mesh.blobs import BlobStore
from mesh.errors import Aborted, FailedPrecondition, NotFound, PermissionDenied, Unavailable

SERVICE_NAME = "fnmesh.invoke.v1.JobService"
_POLL_S = 0.3
_LOG_KEY = re.compile(r"jobs/[^/]+/([0-9a-f-]{36})\.log")


@dataclass(frozen=True)
class JobParts:
    """What the servicer passes calls on to."""

    store: JobStore
    lines: JobLines
    creation: Creation
    workspaces: Workspaces
    blobs: BlobStore
    hints: JobHints


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """See the .proto files for what each call means. `stream_age_s` bounds a WatchJob; clients go on from there."""

    def __init__(self, parts: JobParts, *, stream_age_s: float = 3600.0) -> None:
        self._parts = parts
        self._stream_age_s = stream_age_s

    async def CreateJob(self, request: pb.CreateJobRequest, context: Any) -> job_pb2.Job:
        request_id = messages.request_id(request.request_id)
        order = await self._parts.creation.order(request.parent, request.job)
        job = await self._parts.creation.place(order, start=request.start, request_id=request_id)
        return messages.to_message(await self._whole(job))

    async def StartJob(self, request: pb.StartJobRequest, context: Any) -> job_pb2.Job:
        job = await self._find(request.name, change=True)
        event = None
        if request.HasField("event"):
            event = messages.event(request.event, self._parts.creation.event_bytes)
        limit_s = messages.timeout_s(request.timeout, "timeout") if request.HasField("timeout") else None
        await self._parts.creation.queue_limit.let_in(job.workspace_uid, job.workspace_name)
        started = await self._parts.store.start(job.uid, event, limit_s)
        if started is None:
            now = await self._get(job.uid)
            raise Aborted("JOB_STARTED", f"The job was started before; it is {now.state.name}.", state=now.state.name)
        self._parts.hints.work.set()
        self._parts.hints.changed(job.uid)
        return messages.to_message(started)

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> job_pb2.Job:
        job = await self._whole(await self._find(request.name))
        code = b""
        if request.with_code and job.kind is Kind.SCRIPT:
            require_scope(Scope.DEPLOY, job.workspace_uid)
            code = await self._parts.blobs.get(code_blob(job))
        return messages.to_message(job, code=code)

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        (reference,) = names.parse(names.WORKSPACE, request.parent, field="parent")
        workspace = current_principal().workspace
        if reference != "-":
            workspace = (await self._parts.workspaces.find(reference)).uid
        require_looking(workspace or None)
        states = _states(request.states)
        size = pages.page_size(request.page_size)
        query = f"jobs {workspace} {sorted(states)}"
        position = pages.decode_token(query, request.page_token, (str, str))
        before = list_position(position) if position else None
        found = await self._parts.store.page(Page(size + 1, workspace, states, before))
        more, found = len(found) > size, found[:size]
        return pb.ListJobsResponse(
            jobs=[messages.to_message(job) for job in found],
            next_page_token=pages.encode_token(query, [repr(found[-1].created), found[-1].uid]) if more else "",
        )

    async def CountJobs(self, request: pb.CountJobsRequest, context: Any) -> pb.CountJobsResponse:
        (reference,) = names.parse(names.WORKSPACE, request.parent, field="parent")
        workspace = current_principal().workspace
        if reference != "-":
            workspace = (await self._parts.workspaces.find(reference)).uid
        require_looking(workspace or None)
        counts = await self._parts.store.counts(workspace)
        return pb.CountJobsResponse(
            workspaces=[
                pb.WorkspaceJobs(workspace=f"workspaces/{uid}", jobs=count) for uid, count in sorted(counts.items())
            ]
        )

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> job_pb2.Job:
        job = await self._find(request.name, change=True)
        cancelled = await self._parts.store.cancel(job.uid)
        self._parts.hints.cancels.set()
        self._parts.hints.changed(job.uid)
        return messages.to_message(cancelled or await self._get(job.uid))

    async def RedriveJob(self, request: pb.RedriveJobRequest, context: Any) -> job_pb2.Job:
        job = await self._find(request.name, change=True)
        await self._parts.creation.queue_limit.let_in(job.workspace_uid, job.workspace_name)
        redriven = await self._parts.store.redrive(job.uid)
        if redriven is None:
            now = await self._get(job.uid)
            text = f"Only a job that ended without success can be redriven; this one is {now.state.name}."
            raise FailedPrecondition("JOB_NOT_ENDED", text, state=now.state.name)
        self._parts.hints.work.set()
        self._parts.hints.changed(job.uid)
        return messages.to_message(redriven)

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        job = await self._find(request.name)
        sequence, sent = max(0, request.after_sequence), 0
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._stream_age_s * random.uniform(0.9, 1.1)  # noqa: S311 -- spreads reconnects
        with self._parts.hints.listening(job.uid) as changed:
            while loop.time() < ends:
                changed.clear()
                now = await self._parts.store.state_of(job.uid)
                if now is None:
                    raise _unknown(job.uid)
                state, version = now
                if version != sent and not state.ended:
                    job = await self._get(job.uid)
                    if not job.state.ended:
                        sent = job.version
                        yield pb.WatchJobResponse(sequence=sequence, job=messages.to_message(job))
                async for line in self._parts.lines.after(job, sequence, ended=state.ended):
                    sequence = line.sequence
                    yield pb.WatchJobResponse(sequence=sequence, line=messages.to_line(line))
                if state.ended:  # last, after all of its lines
                    job = await self._whole(await self._get(job.uid))
                    yield pb.WatchJobResponse(sequence=sequence, job=messages.to_message(job))
                    if job.state.ended:
                        return
                    sent = job.version
                if version != sent:
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await changed.wait()
        raise Unavailable("STREAM_AGED", "The stream has reached its age; call again.", retry_after_s=0)

    async def GetJobLog(self, request: pb.GetJobLogRequest, context: Any) -> AsyncIterator[pb.GetJobLogResponse]:
        if request.WhichOneof("job") == "log_key":
            match = _LOG_KEY.fullmatch(request.log_key)
            if match is None:
                raise NotFound("LOG_NOT_FOUND", "There is no log with this key.")
            job = await self._find(f"workspaces/-/jobs/{match[1]}")
        else:
            job = await self._find(request.name)
        async for piece in self._parts.lines.text(job):
            for at in range(0, len(piece), 1 << 20):
                yield pb.GetJobLogResponse(chunk=piece[at : at + (1 << 20)])

    async def _find(self, name: str, *, change: bool = False) -> Job:
        """The job of a resource name, which the caller may look at, or change. Others' jobs are not found."""
        workspace, uid = names.parse(names.JOB, name)
        require_looking(None)
        job = await self._parts.store.get(uid)
        if job is None:
            raise _unknown(uid)
        if workspace not in ("-", job.workspace_uid, job.workspace_name):
            with contextlib.suppress(NotFound, PermissionDenied):
                if (await self._parts.workspaces.find(workspace)).uid == job.workspace_uid:
                    workspace = "-"
            if workspace != "-":
                raise _unknown(uid)
        bound = current_principal().workspace
        if bound and bound != job.workspace_uid:
            raise _unknown(uid)
        if change:
            require_scope(Scope.DEPLOY if job.kind is Kind.SCRIPT else Scope.INVOKE, job.workspace_uid)
        return job

    async def _get(self, uid: str) -> Job:
        job = await self._parts.store.get(uid)
        if job is None:
            raise _unknown(uid)
        return job

    async def _whole(self, job: Job) -> Job:
        """The job with a result that is too large for its row."""
        if not job.result_key:
            return job
        with contextlib.suppress(NotFound):
            return replace(job, result=await self._parts.blobs.get(job.result_key))
        return job


def require_looking(workspace: str | None) -> None:
    """Lets those pass who may look at jobs (of a workspace). Raises PermissionDenied."""
    principal = current_principal()
    if not principal.may(Scope.DEPLOY, workspace) and not principal.may(Scope.INVOKE, workspace):
        raise PermissionDenied("SCOPE_MISSING", "This needs an API key with the scope 'deploy' or 'invoke'.")


def _states(asked: Any) -> tuple[JobState, ...]:
    try:
        return tuple(sorted({JobState(number) for number in asked}))
    except ValueError:
        messages.refuse("STATE_INVALID", "states", "states must be states that a job can have.")


def list_position(position: pages.Position) -> tuple[float, str]:
    """The place in a listing that a page token means. Raises InvalidArgument."""
    try:
        return float(position[0]), str(position[1])
    except ValueError:
        text = "page_token is not one that the same listing gave; start again without it."
        messages.refuse("PAGE_TOKEN_INVALID", "page_token", text)


def _unknown(uid: str) -> NotFound:
    return NotFound("JOB_NOT_FOUND", f"There is no job '{uid}' (any more).")
