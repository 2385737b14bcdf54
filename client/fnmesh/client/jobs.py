"""Jobs: work that nobody waits for. `mesh.jobs` of both faces of the client."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from fnmesh.client.connection import Connection
from fnmesh.client.errors import JobFailed, SourceError
from fnmesh.client.loop_thread import LoopThread
from fnmesh.client.names import function_name, workspace_name
from fnmesh.client.paging import collect
from fnmesh.client.units import parse_duration, parse_memory
from fnmesh.invoke.v1 import job_pb2, job_service_pb2
from fnmesh.invoke.v1.job_service_pb2_grpc import JobServiceStub

LANGUAGES = {".py": "python", ".js": "node", ".mjs": "node", ".cjs": "node"}
STATES = {name.removeprefix("JOB_STATE_").lower(): number for name, number in job_pb2.JobState.items() if number}
_RUNS = (job_pb2.JOB_STATE_PENDING, job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING)


class AsyncJobs:
    """The jobs of a mesh. Functions are named as in AsyncMesh; a job is said by itself, its identifier or its resource
    name.
    """

    def __init__(self, connection: Connection, workspace: str) -> None:
        self._connection = connection
        self._workspace = workspace
        self._jobs = JobServiceStub(connection.channel)

    async def run(
        self,
        function: str,
        event: Any = None,
        *,
        timeout: Any = None,
        max_attempts: int = 0,
        start: bool = True,
        request_id: str | None = None,
    ) -> job_pb2.Job:
        """Has a function invoked with an event, and answers once that is sure to happen.

        `event` is bytes of JSON, or any value that becomes JSON; {} where None. The same `request_id` within a day is
        the same job; one is made up where not given, so that a call that had to be repeated makes one job.
        """
        job = function_job(function, self._workspace, event, timeout, max_attempts)
        return await self._create(job.function.partition("/functions/")[0], job, start, request_id)

    async def run_script(
        self,
        source: str | Path,
        event: Any = None,
        *,
        language: str | None = None,
        timeout: Any = None,
        max_attempts: int = 0,
        target: str | None = None,
        memory: str | int | None = None,
        workspace: str | None = None,
        start: bool = True,
        request_id: str | None = None,
    ) -> job_pb2.Job:
        """Has a file run from top to bottom. What it prints is its log; exit code 0 is success.

        `language` is python or node, by the file's suffix where not given; `target` process or docker, as the mesh is
        set where not given. Raises SourceError before anything was sent.
        """
        job = await script_job(source, event, timeout, max_attempts, language, target, memory)
        return await self._create(workspace_name(workspace or self._workspace), job, start, request_id)

    async def _create(self, parent: str, job: job_pb2.Job, start: bool, request_id: str | None) -> job_pb2.Job:
        request = job_service_pb2.CreateJobRequest(
            parent=parent, job=job, start=start, request_id=request_id or str(uuid.uuid4())
        )
        return await self._connection.call(self._jobs.CreateJob, request)

    async def start(self, job: str | job_pb2.Job, event: Any = None, *, timeout: Any = None) -> job_pb2.Job:
        """Starts a job that was made without being started, with another event or time limit where given."""
        request = job_service_pb2.StartJobRequest(name=job_name(job))
        if event is not None:
            request.event = event if isinstance(event, bytes) else json.dumps(event).encode()
        if timeout is not None:
            request.timeout.FromTimedelta(parse_duration(timeout))
        return await self._connection.call(self._jobs.StartJob, request)

    async def get(self, job: str | job_pb2.Job, *, with_code: bool = False) -> job_pb2.Job:
        """One job, with its event and its result."""
        request = job_service_pb2.GetJobRequest(name=job_name(job), with_code=with_code)
        return await self._connection.call(self._jobs.GetJob, request)

    async def list(
        self, *, states: Sequence[str] = (), limit: int = 100, workspace: str | None = None
    ) -> Sequence[job_pb2.Job]:
        """The newest jobs of a workspace, or of all with `-`, in any of the states (such as dead)."""
        unknown = [state for state in states if state.lower() not in STATES]
        if unknown:
            raise SourceError(f"'{unknown[0]}' is no state of a job; there are {', '.join(STATES)}.")
        request = job_service_pb2.ListJobsRequest(
            parent=workspace_name(workspace or self._workspace),
            page_size=min(limit, 1000),
            states=[STATES[state.lower()] for state in states],
        )
        return await collect(self._connection, self._jobs.ListJobs, request, "jobs", limit)

    async def cancel(self, job: str | job_pb2.Job) -> job_pb2.Job:
        """Stops a job within about a second; one that has ended stays as it is."""
        return await self._connection.call(self._jobs.CancelJob, job_service_pb2.CancelJobRequest(name=job_name(job)))

    async def redrive(self, job: str | job_pb2.Job) -> job_pb2.Job:
        """Starts a job again that has ended without success."""
        return await self._connection.call(self._jobs.RedriveJob, job_service_pb2.RedriveJobRequest(name=job_name(job)))

    async def watch(self, job: str | job_pb2.Job, after: int = 0) -> AsyncIterator[job_service_pb2.WatchJobResponse]:
        """The job as it is, its log lines after a number, and each change, to its end."""
        seen = after

        def request() -> job_service_pb2.WatchJobRequest:
            return job_service_pb2.WatchJobRequest(name=job_name(job), after_sequence=seen)

        async for message in self._connection.resumed(self._jobs.WatchJob, request):
            if message.WhichOneof("message") == "line":
                if message.sequence <= seen:
                    continue
                seen = message.sequence
            yield message

    async def wait(self, job: str | job_pb2.Job, timeout_s: float | None = None) -> job_pb2.Job:
        """The job, once it has ended, however it did. Raises TimeoutError; the job goes on, then."""
        last = job_pb2.Job()
        async with asyncio.timeout(timeout_s):
            async for message in self.watch(job):
                if message.WhichOneof("message") == "job":
                    last = message.job
        return last

    async def result(self, job: str | job_pb2.Job, timeout_s: float | None = None) -> Any:
        """What a job came to, once it has ended: of a function what it answered (the JSON value, or text), of a script
        its log. Raises JobFailed, TimeoutError.
        """
        ended = await self.wait(job, timeout_s)
        if ended.state != job_pb2.JOB_STATE_SUCCESS:
            raise JobFailed(ended)
        if ended.WhichOneof("work") == "script":
            return b"".join([piece async for piece in self.log(ended)]).decode(errors="replace")
        try:
            return json.loads(ended.result)
        except ValueError:
            return ended.result.decode(errors="replace")

    async def log(self, job: str | job_pb2.Job) -> AsyncIterator[bytes]:
        """The log of a script, as far as it is there, in pieces."""
        request = job_service_pb2.GetJobLogRequest()
        if isinstance(job, str) and job.startswith("jobs/"):
            request.log_key = job
        else:
            request.name = job_name(job)
        async for part in self._connection.stream(self._jobs.GetJobLog, request):
            yield part.chunk


class Jobs:
    """The jobs of a mesh. Arguments, answers and errors are those of AsyncJobs."""

    def __init__(self, jobs: AsyncJobs, loop: LoopThread) -> None:
        self._jobs = jobs
        self._loop = loop

    def run(self, function: str, event: Any = None, **more: Any) -> job_pb2.Job:
        """See AsyncJobs.run."""
        return self._loop.run(self._jobs.run(function, event, **more))

    def run_script(self, source: str | Path, event: Any = None, **more: Any) -> job_pb2.Job:
        """See AsyncJobs.run_script."""
        return self._loop.run(self._jobs.run_script(source, event, **more))

    def start(self, job: str | job_pb2.Job, event: Any = None, *, timeout: Any = None) -> job_pb2.Job:
        """See AsyncJobs.start."""
        return self._loop.run(self._jobs.start(job, event, timeout=timeout))

    def get(self, job: str | job_pb2.Job, *, with_code: bool = False) -> job_pb2.Job:
        """See AsyncJobs.get."""
        return self._loop.run(self._jobs.get(job, with_code=with_code))

    def list(
        self, *, states: Sequence[str] = (), limit: int = 100, workspace: str | None = None
    ) -> Sequence[job_pb2.Job]:
        """See AsyncJobs.list."""
        return self._loop.run(self._jobs.list(states=states, limit=limit, workspace=workspace))

    def cancel(self, job: str | job_pb2.Job) -> job_pb2.Job:
        """See AsyncJobs.cancel."""
        return self._loop.run(self._jobs.cancel(job))

    def redrive(self, job: str | job_pb2.Job) -> job_pb2.Job:
        """See AsyncJobs.redrive."""
        return self._loop.run(self._jobs.redrive(job))

    def watch(self, job: str | job_pb2.Job, after: int = 0) -> Iterator[job_service_pb2.WatchJobResponse]:
        """See AsyncJobs.watch."""
        return self._loop.iterate(self._jobs.watch(job, after))

    def wait(self, job: str | job_pb2.Job, timeout_s: float | None = None) -> job_pb2.Job:
        """See AsyncJobs.wait."""
        return self._loop.run(self._jobs.wait(job, timeout_s))

    def result(self, job: str | job_pb2.Job, timeout_s: float | None = None) -> Any:
        """See AsyncJobs.result."""
        return self._loop.run(self._jobs.result(job, timeout_s))

    def log(self, job: str | job_pb2.Job) -> Iterator[bytes]:
        """See AsyncJobs.log."""
        return self._loop.iterate(self._jobs.log(job))


def function_job(function: str, workspace: str, event: Any, timeout: Any, max_attempts: int) -> job_pb2.Job:
    """A job that invokes a function."""
    job = job_pb2.Job(function=function_name(function, workspace), max_attempts=max_attempts)
    return _filled(job, event, timeout)


async def script_job(
    source: str | Path,
    event: Any,
    timeout: Any,
    max_attempts: int,
    language: str | None,
    target: str | None,
    memory: str | int | None,
) -> job_pb2.Job:
    """A job that runs a file. Raises SourceError."""
    path = Path(source)
    spoken = language or LANGUAGES.get(path.suffix.lower())
    if spoken not in ("python", "node"):
        raise SourceError(f"The language of {path.name} is not known; say python or node (--language).")
    if target not in (None, "process", "docker"):
        raise SourceError(f"'{target}' is no target for scripts; there are process and docker.")
    try:
        code = await asyncio.to_thread(path.read_bytes)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None
    script = job_pb2.Script(
        code=code,
        language=job_pb2.Language.Value(f"LANGUAGE_{spoken.upper()}"),
        target=job_pb2.ScriptTarget.Value(f"SCRIPT_TARGET_{(target or 'unspecified').upper()}"),
        memory_bytes=parse_memory(memory) if memory is not None else 0,
    )
    return _filled(job_pb2.Job(script=script, max_attempts=max_attempts), event, timeout)


def _filled(job: job_pb2.Job, event: Any, timeout: Any) -> job_pb2.Job:
    job.event = event if isinstance(event, bytes) else b"" if event is None else json.dumps(event).encode()
    if timeout is not None:
        job.timeout.FromTimedelta(parse_duration(timeout))
    return job


def job_name(job: str | job_pb2.Job) -> str:
    """`workspaces/-/jobs/{uid}` of an identifier; a resource name stays what it is."""
    if not isinstance(job, str):
        return job.name
    return job if job.startswith("workspaces/") else f"workspaces/-/jobs/{job}"


def has_ended(job: job_pb2.Job) -> bool:
    """Whether a job will not change by itself any more."""
    return job.state not in _RUNS
