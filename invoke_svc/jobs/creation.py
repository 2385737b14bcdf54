"""Making jobs: what is asked for, checked and completed, then stored."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from fnmesh.invoke.v1 import job_pb2
from invoke_svc.domain import Route
from invoke_svc.identity import new_trace
from invoke_svc.jobs import messages
from invoke_svc.jobs.batches import Batches
from invoke_svc.jobs.domain import Job, JobState, Kind
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.queue_limit import QueueLimit
from invoke_svc.jobs.store import JobStore
from invoke_svc.jobs.workspaces import Workspaces
from mesh import names, telemetry
from mesh.auth import Scope, require_scope
from mesh.blobs import BlobStore
from mesh.errors import ResourceExhausted

FUNCTION_ATTEMPTS = 3
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Order:
    """A job to make. `code` is a script's."""

    job: Job
    code: bytes = b""


def code_blob(job: Job) -> str:
    """Where the code of a script is stored."""
    return f"jobs/{job.workspace_uid}/{job.uid}.{job.language.suffix}"


class Creation:
    """Makes jobs. `find_callable` finds a deployed function by its resource name, for a caller who may invoke it."""

    def __init__(
        self,
        store: JobStore,
        workspaces: Workspaces,
        find_callable: Callable[[str], Awaitable[Route]],
        blobs: BlobStore,
        hints: JobHints,
        queue_limit: QueueLimit,
        *,
        event_bytes: int,
    ) -> None:
        self._store = store
        self._workspaces = workspaces
        self._find_callable = find_callable
        self._blobs = blobs
        self._hints = hints
        self.queue_limit = queue_limit
        self.event_bytes = event_bytes
        self._creating: Batches[Job, Job] = Batches(store.create)

    async def order(self, parent: str, asked: job_pb2.Job) -> Order:
        """What a message asks for, not started. Raises InvalidArgument, NotFound, PermissionDenied, NotDeployed."""
        (reference,) = names.parse(names.WORKSPACE, parent, field="parent")
        event = messages.event(asked.event, self.event_bytes)
        limit_s = messages.timeout_s(asked.timeout) if asked.HasField("timeout") else 0.0
        kind = asked.WhichOneof("work")
        if kind == "function":
            names.parse(names.FUNCTION, asked.function, field="job.function")
            route = await self._find_callable(asked.function)
            if reference not in ("-", route.workspace, route.workspace_display_name):
                text = "The function is in another workspace than the job."
                messages.refuse("WORKSPACE_MISMATCH", "job.function", text)
            attempts = messages.attempts(asked.max_attempts, FUNCTION_ATTEMPTS)
            return Order(replace(of_function(route, event), timeout_s=limit_s, max_attempts=attempts))
        if kind != "script":
            messages.refuse("WORK_MISSING", "job.script", "A job needs a script or a function.")
        require_scope(Scope.DEPLOY)
        code, language, target, memory = messages.script(asked.script)
        attempts = messages.attempts(asked.max_attempts, 1)
        workspace = await self._workspaces.find(reference, create=True)
        require_scope(Scope.DEPLOY, workspace.uid)
        job = Job(
            uid="",
            workspace_uid=workspace.uid,
            workspace_name=workspace.display_name,
            kind=Kind.SCRIPT,
            language=language,
            target=target,
            memory_bytes=memory,
            timeout_s=limit_s or messages.SCRIPT_TIMEOUT_S,
            max_attempts=attempts,
            event=event,
        )
        return Order(job, code)

    async def place(self, order: Order, *, start: bool, request_id: str | None = None) -> Job:
        """Stores a job; the one that was made before with the request id, where there is one. Raises
        ResourceExhausted (JOB_QUEUE_FULL) where there is none.
        """
        workspace = order.job.workspace_uid
        if start:
            try:
                await self.queue_limit.let_in(workspace, order.job.workspace_name)
            except ResourceExhausted:
                repeated = await self._store.requested(workspace, request_id) if request_id else None
                if repeated is None:
                    raise
                return repeated
        state = JobState.QUEUED if start else JobState.PENDING
        for _ in range(_TRIES):
            job = replace(complete(order.job), state=state, request_id=request_id)
            if job.kind is Kind.SCRIPT:
                await self._blobs.put(code_blob(job), order.code)
            made = await self._creating.add(job)
            if made.uid == job.uid or (request_id and made.request_id == request_id):
                break
            await self._blobs.delete(code_blob(job))  # its first digits are those of another job
        if made.uid != job.uid and job.kind is Kind.SCRIPT:
            await self._blobs.delete(code_blob(job))
        if start:
            self._hints.work.set()
        return made


def of_function(route: Route, event: bytes) -> Job:
    """A job that invokes a function, as often as is usual."""
    return Job(
        uid="",
        workspace_uid=route.workspace,
        workspace_name=route.workspace_display_name,
        kind=Kind.FUNCTION,
        function_uid=route.uid,
        function_name=route.name,
        function_display_name=route.display_name,
        max_attempts=FUNCTION_ATTEMPTS,
        event=event,
    )


def complete(job: Job) -> Job:
    """The job with an identifier, what is named after it, and the trace that it belongs to."""
    uid = str(uuid.uuid4())
    traceparent = job.traceparent or telemetry.format_traceparent(telemetry.current_context()) or new_trace()[1]
    job = replace(job, uid=uid, traceparent=traceparent)
    if job.kind is Kind.SCRIPT:
        code_key = f"{job.workspace_name}/{uid[:8]}.{job.language.suffix}"
        return replace(job, code_key=code_key, log_key=f"jobs/{job.workspace_uid}/{uid}.log")
    return job
