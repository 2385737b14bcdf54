"""Runs jobs that invoke a function: through the same admission and exchange as a direct invoke."""

from __future__ import annotations

from typing import Protocol

from invoke_svc.domain import NoRoom, NotDeployed, Route, Run
from invoke_svc.http_head import RequestHead
from invoke_svc.jobs.domain import End, Job, Outcome
from invoke_svc.jobs.http_replay import replay
from invoke_svc.routes import RouteTable
from invoke_svc.service import RunFailed
from mesh.blobs import BlobStore
from mesh.errors import DeadlineExceeded, MeshError, ResourceExhausted, Unavailable

INLINE_RESULT_BYTES = 64 * 1024
"""A larger result goes to the blob store."""


class Functions(Protocol):
    """Runs functions; see InvokeService.run_job."""

    async def run_job(
        self, route: Route, payload: bytes, limit_s: float, head: RequestHead | None = None
    ) -> tuple[Run, bytes]: ...


class FunctionRunner:
    """The Runner of Kind.FUNCTION."""

    def __init__(self, routes: RouteTable, functions: Functions, blobs: BlobStore) -> None:
        self._routes = routes
        self._functions = functions
        self._blobs = blobs

    async def run(self, job: Job) -> Outcome:
        route = self._routes.get(job.function_uid)
        if route is None:
            if self._routes.synced:
                return Outcome(End.REFUSED, "FUNCTION_NOT_FOUND: The function was deleted.")
            return Outcome(End.NOT_BEGUN, "ROUTES_NOT_LOADED: The mesh does not know its functions yet.")
        if not route.revision:
            return Outcome(End.NOT_BEGUN, "NOT_DEPLOYED: The function is not deployed any more.")
        limit_s = min(job.timeout_s, route.timeout_s) if job.timeout_s else route.timeout_s
        payload, head = (job.event, None) if not (job.http and route.foreign) else replay(job.event)
        try:
            run, body = await self._functions.run_job(route, payload, limit_s, head)
        except RunFailed as failed:
            return _failed(failed.run, failed.error)
        return await self._answered(job, run, body)

    async def _answered(self, job: Job, run: Run, body: bytes) -> Outcome:
        end, error = End.DONE, ""
        if run.failed or run.status >= 500:
            end, error = End.FAILED, run.error
        elif run.status >= 400:
            end, error = End.REFUSED, f"STATUS_{run.status}: The function answered {run.status}."
        key = ""
        if len(body) > INLINE_RESULT_BYTES:
            key, kept = f"jobs/{job.workspace_uid}/{job.uid}.result", b""
            await self._blobs.put(key, body)
        else:
            kept = body
        return Outcome(end, error, None, run.status, _execution(run), kept, key)


def _failed(run: Run, error: MeshError) -> Outcome:
    told = f"{error.reason}: {error.message}"
    if isinstance(error, Unavailable | NoRoom | NotDeployed) or error.reason == "QUEUE_FULL":
        return Outcome(End.NOT_BEGUN, told)
    end = End.FAILED
    if isinstance(error, DeadlineExceeded):
        end = End.TIMED_OUT
    elif isinstance(error, ResourceExhausted):
        end = End.REFUSED  # its answer is too large, and will be
    return Outcome(end, told, status_code=run.status, execution=_execution(run))


def _execution(run: Run) -> str:
    return f"{run.function_name}/executions/{run.uid}"
