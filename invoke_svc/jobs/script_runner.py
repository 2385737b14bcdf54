"""Runs jobs that are scripts: deploy_svc runs them, what they print is stored line by line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fnmesh.internal.deploy.v1 import script_service_pb2 as pb
from fnmesh.internal.deploy.v1 import script_service_pb2_grpc as pb_grpc
from invoke_svc.jobs.creation import code_blob
from invoke_svc.jobs.domain import End, Job, Language, Outcome, ScriptTarget
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.lines import JobLines, Line
from mesh import telemetry
from mesh.blobs import BlobStore
from mesh.errors import MeshError, NotFound, Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
STDOUT, STDERR, SYSTEM = 1, 2, 3
_FLUSH_S = 0.2
_FLUSH_LINES = 1000
_BEYOND_LIMIT_S = 5.0
_LANGUAGES = {Language.PYTHON: "python", Language.NODE: "node"}


class ScriptRunner:
    """The Runner of Kind.SCRIPT. `default_target` is `process` or `docker`; a log has at most `log_bytes`."""

    def __init__(
        self,
        stub: pb_grpc.ScriptServiceAsyncStub,
        lines: JobLines,
        blobs: BlobStore,
        hints: JobHints,
        *,
        default_target: str,
        log_bytes: int,
    ) -> None:
        self._stub = stub
        self._lines = lines
        self._blobs = blobs
        self._hints = hints
        self._default_target = default_target
        self._log_bytes = log_bytes

    async def run(self, job: Job) -> Outcome:
        try:
            code = await self._blobs.get(code_blob(job))
        except NotFound:
            return Outcome(End.REFUSED, "CODE_MISSING: The stored code of the job is gone.")
        output = _Output(self._lines, self._hints, job, await self._lines.last(job.uid), self._log_bytes)
        try:
            async with output.flushing():
                if job.attempt > 1:
                    output.say(f"Attempt {job.attempt} of {job.max_attempts}.")
                outcome = await self._run(job, code, output)
                if outcome.error and outcome.end is not End.NOT_BEGUN:
                    output.say(outcome.error.partition(": ")[2] or outcome.error)
        finally:
            await asyncio.shield(self._keep_log(job, output))
        return outcome

    async def _run(self, job: Job, code: bytes, output: _Output) -> Outcome:
        target = self._default_target if job.target is ScriptTarget.DEFAULT else job.target.name.lower()
        traceparent = telemetry.format_traceparent(telemetry.current_context()) or job.traceparent
        request = pb.RunScriptRequest(
            run=f"job-{job.uid}-{job.claim}",
            language=_LANGUAGES[job.language],
            code=code,
            event=job.event or b"{}",
            target=target,
            memory_bytes=job.memory_bytes,
            env={"FNMESH_JOB": job.name, "FNMESH_ATTEMPT": str(job.attempt), "TRACEPARENT": traceparent},
        )
        request.timeout.FromMilliseconds(int((job.timeout_s + _BEYOND_LIMIT_S) * 1000))
        begun = False
        call = self._stub.RunScript(request)
        try:
            async with asyncio.timeout(None) as limit:
                async for message in call:
                    kind = message.WhichOneof("message")
                    if kind == "started":
                        begun = True
                        limit.reschedule(asyncio.get_running_loop().time() + job.timeout_s)
                    elif kind == "output":
                        for one in message.output.lines:
                            output.add(one)
                    elif kind == "exited":
                        return _exited(message.exited, job)
        except TimeoutError:
            return Outcome(End.TIMED_OUT, _too_long(job))
        except MeshError as error:
            if not begun and isinstance(error, Unavailable):
                return Outcome(End.NOT_BEGUN, f"{error.reason}: {error.message}")
            if not begun:
                return Outcome(End.REFUSED, f"{error.reason}: {error.message}")
            if not isinstance(error, Unavailable):
                return Outcome(End.LOST, f"RUN_LOST: The service that ran the script failed: {error.message}")
            return Outcome(End.LOST, "RUN_LOST: The service that ran the script was stopped, and the script with it.")
        finally:
            call.cancel()
        return Outcome(End.LOST, "RUN_LOST: The service that ran the script did not say how it ended.")

    async def _keep_log(self, job: Job, output: _Output) -> None:
        """The log as a blob; what cannot be stored now is stored when old lines are cleared away."""
        try:
            await output.flush()
            if output.stored:
                await self._lines.archive(job)
        except Exception as error:
            log.exception("job_log_not_stored", error, job=job.uid)


def _exited(exited: pb.ScriptExited, job: Job) -> Outcome:
    if exited.timed_out:
        return Outcome(End.TIMED_OUT, _too_long(job))
    if exited.killed:
        return Outcome(End.FAILED, f"KILLED: {exited.killed}")
    if exited.code:
        return Outcome(End.FAILED, f"EXIT_CODE: The script ended with exit code {exited.code}.", exited.code)
    return Outcome(End.DONE, exit_code=0)


def _too_long(job: Job) -> str:
    return f"TIMEOUT: The script took longer than its time limit of {job.timeout_s:g} s and was stopped."


class _Output:
    """Lines on their way to the database, stored a few times a second."""

    def __init__(self, lines: JobLines, hints: JobHints, job: Job, last: int, limit_bytes: int) -> None:
        self._lines = lines
        self._hints = hints
        self._job = job
        self._sequence = last
        self._left = limit_bytes
        self._pending: list[Line] = []
        self._sending: list[Line] = []
        self._full = asyncio.Event()
        self.stored = last > 0

    def add(self, line: pb.ScriptLine) -> None:
        """Takes a line; the first beyond the limit is one that says so, and no other follows."""
        if self._left <= 0:
            return
        self._left -= len(line.text) + 1
        if self._left <= 0:
            self.say("The log has reached its limit; what the script prints from here on is left out.")
            return
        written = line.write_time.ToMicroseconds() / 1e6
        self._put(STDERR if line.stderr else STDOUT, line.text.decode(errors="replace"), written)

    def say(self, text: str) -> None:
        """A line of the mesh's own."""
        self._put(SYSTEM, text, time.time())

    def _put(self, stream: int, text: str, written: float) -> None:
        self._sequence += 1
        self._pending.append(Line(self._sequence, stream, text.replace("\r", " ").replace("\n", " "), written))
        if len(self._pending) >= _FLUSH_LINES:
            self._full.set()

    @asynccontextmanager
    async def flushing(self) -> AsyncIterator[None]:
        """Stores lines for as long as the context lasts."""
        failure: BaseException | None = None
        async with asyncio.TaskGroup() as tasks:
            flushing = tasks.create_task(self._flush_forever())
            try:
                yield
            except BaseException as error:
                failure = error
            finally:
                flushing.cancel()
        if failure is not None:
            raise failure

    async def _flush_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_FLUSH_S):
                    await self._full.wait()
            except TimeoutError:
                pass
            self._full.clear()
            try:
                await self.flush()
            except Exception as error:
                log.exception("job_lines_not_stored", error, job=self._job.uid)

    async def flush(self) -> None:
        """Stores what is pending."""
        while self._pending:
            # One whose writing was interrupted may be there: the very same lines are written again, without effect.
            batch = self._sending = self._sending or self._pending[:_FLUSH_LINES]
            if not await self._lines.append(self._job, batch):
                self._pending.clear()  # the job is another's now
                return
            self._sending = []
            del self._pending[: len(batch)]
            self.stored = True
            self._hints.changed(self._job.uid)
