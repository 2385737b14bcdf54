"""Puts the parts of jobs together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fnmesh.internal.deploy.v1 import script_service_pb2_grpc as script_grpc
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as registry_grpc
from invoke_svc.jobs.creation import Creation
from invoke_svc.jobs.deferring import Deferring
from invoke_svc.jobs.domain import Kind, RetryPolicy
from invoke_svc.jobs.function_runner import FunctionRunner
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.housekeeping import JobHousekeeping
from invoke_svc.jobs.lines import JobLines
from invoke_svc.jobs.orphans import JobOrphans
from invoke_svc.jobs.queue import JobQueue
from invoke_svc.jobs.queue_limit import QueueLimit
from invoke_svc.jobs.schedule_service import ScheduleServicer
from invoke_svc.jobs.schedules import ScheduleStore, Ticking
from invoke_svc.jobs.script_runner import ScriptRunner
from invoke_svc.jobs.service import JobParts, JobServicer
from invoke_svc.jobs.store import JobStore
from invoke_svc.jobs.worker import JobWorker, Timing
from invoke_svc.jobs.workspaces import Workspaces
from invoke_svc.routes import RouteTable
from invoke_svc.service import InvokeService
from invoke_svc.settings import InvokeSettings
from mesh.blobs import open_blobs
from mesh.clock import SystemClock
from mesh.db import Database
from mesh.loops import run_forever

HOUSEKEEPING_S = 60.0
TICK_S = 1.0


class Jobs:
    """All that there is of jobs in this process. Its worker works within `working()`."""

    def __init__(
        self,
        settings: InvokeSettings,
        database: Database,
        routes: RouteTable,
        functions: InvokeService,
        registry: registry_grpc.RegistryInternalServiceAsyncStub,
        scripts: script_grpc.ScriptServiceAsyncStub,
    ) -> None:
        self._drain_s = settings.invoke_job_drain_s
        self._orphans_s = settings.invoke_job_orphans_s
        blobs = open_blobs(settings.blob_url)
        hints = JobHints()
        store, lines = JobStore(database), JobLines(database, blobs)
        policy = RetryPolicy(
            settings.invoke_job_retry_first_s, settings.invoke_job_retry_limit_s, settings.invoke_job_patience_s
        )
        queue = JobQueue(
            database,
            policy,
            lease_s=settings.invoke_job_lease_s,
            workspace_limit=settings.invoke_job_workspace_concurrency,
        )
        self._worker = JobWorker(
            queue,
            {
                Kind.FUNCTION: FunctionRunner(routes, functions, blobs),
                Kind.SCRIPT: ScriptRunner(
                    scripts,
                    lines,
                    blobs,
                    hints,
                    default_target=settings.invoke_job_target,
                    log_bytes=settings.invoke_job_log_bytes,
                ),
            },
            {Kind.FUNCTION: settings.invoke_job_function_slots, Kind.SCRIPT: settings.invoke_job_script_slots},
            hints,
            Timing(settings.invoke_job_lease_s, settings.invoke_job_poll_s, settings.invoke_job_cancel_poll_s),
        )
        workspaces = Workspaces(registry, SystemClock())
        self.creation = Creation(
            store,
            workspaces,
            functions.find_callable,
            blobs,
            hints,
            QueueLimit(store, SystemClock(), settings.invoke_job_queue_limit),
            event_bytes=settings.invoke_job_event_bytes,
        )
        self.deferring = Deferring(self.creation)
        self.housekeeping = JobHousekeeping(
            store,
            lines,
            blobs,
            lines_kept_s=settings.invoke_job_lines_kept_s,
            kept_days=settings.invoke_job_days,
        )
        self.orphans = JobOrphans(database, registry, hints)
        schedule_store = ScheduleStore(database)
        self.ticking = Ticking(database, blobs, hints, _refusal_of(routes))
        self.schedule_servicer = ScheduleServicer(schedule_store, self.creation, workspaces)
        self.servicer = JobServicer(JobParts(store, lines, self.creation, workspaces, blobs, hints))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Runs jobs for as long as the context lasts."""
        async with asyncio.TaskGroup() as tasks, self._worker.running(self._drain_s):
            loops = [
                tasks.create_task(run_forever(self.ticking.step, interval_s=TICK_S, name="schedules")),
                tasks.create_task(run_forever(self.orphans.step, interval_s=self._orphans_s, name="job orphans")),
            ]
            try:
                yield
            finally:
                for loop in loops:
                    loop.cancel()


def _refusal_of(routes: RouteTable) -> Callable[[str], str | None]:
    def refusal(function_uid: str) -> str | None:
        route = routes.get(function_uid)
        if route is None:
            return "FUNCTION_NOT_FOUND: The function was deleted." if routes.synced else None
        return None if route.revision else "NOT_DEPLOYED: The function is not deployed."

    return refusal
