"""Claims jobs and sees to it that each comes to an end: leases, cancellation, lost work.

One process is one owner of claims; it keeps the leases of all that it runs with one statement. A job whose lease was
lost is dropped at once: nothing of it can be written any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from invoke_svc.jobs.domain import End, Job, Kind, Outcome
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.queue import JobQueue, Settlement
from mesh import telemetry
from mesh.ids import new_id
from mesh.logs import get_logger
from mesh.loops import Backoff, run_forever, wait_for_wake

log = get_logger(__name__)
_BACKOFF = Backoff(first_s=0.1, limit_s=5.0)
_AT_ONCE = 256
_SETTLE_LAST_S = 5.0


class Runner(Protocol):
    """Runs jobs of one kind."""

    async def run(self, job: Job) -> Outcome:
        """What the attempt came to. Cancelling it stops the work. What it raises counts as a failure."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: of a lease, between looks into an empty queue, and between looks for cancelled jobs."""

    lease_s: float = 10.0
    poll_s: float = 0.5
    cancel_poll_s: float = 0.3


@dataclass(eq=False, slots=True)
class _Attempt:
    job: Job
    scope: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    cancelled: bool = False
    lost: bool = False

    def stop(self) -> None:
        """Ends the attempt now, wherever it is."""
        with contextlib.suppress(RuntimeError):  # not begun yet, or over
            self.scope.reschedule(0)


class JobWorker:
    """The worker of this process. `slots` is how many jobs of a kind run here at once."""

    def __init__(
        self,
        queue: JobQueue,
        runners: Mapping[Kind, Runner],
        slots: Mapping[Kind, int],
        hints: JobHints,
        timing: Timing,
    ) -> None:
        self.owner = new_id("worker-")
        self._queue = queue
        self._runners = runners
        self._slots = slots
        self._hints = hints
        self._timing = timing
        self._closing = False
        self._attempts: dict[str, _Attempt] = {}
        self._free = dict(slots)
        self._ended: list[Settlement] = []

    @asynccontextmanager
    async def running(self, drain_s: float) -> AsyncIterator[None]:
        """Works for as long as the context lasts. On exit nothing more is claimed, and what is under way has
        `drain_s` to end; then it is given up, and its jobs say so.
        """
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(self._run())
            try:
                yield
            finally:
                self._closing = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(drain_s):
                        while self._attempts:
                            await wait_for_wake(self._hints.work, self._timing.poll_s)
                working.cancel()
        await self._settle_last()

    async def _run(self) -> None:
        interval = self._timing.cancel_poll_s
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_forever(self._keep, interval_s=self._timing.lease_s / 3, name="job leases"))
            tasks.create_task(
                run_forever(self._look_for_cancelled, interval_s=interval, wake=self._hints.cancels, name="job cancels")
            )
            tasks.create_task(run_forever(self._recover, interval_s=self._timing.lease_s / 5, name="lost jobs"))
            await self._turn_forever(tasks)

    async def _turn_forever(self, tasks: asyncio.TaskGroup) -> None:
        """Writes how attempts ended and claims jobs for the places that are free, both in one transaction."""
        failures = 0
        while True:
            ended, self._ended = self._ended[:_AT_ONCE], self._ended[_AT_ONCE:]
            wanted = {} if self._closing else {kind: free for kind, free in self._free.items() if free > 0}
            try:
                jobs = await self._queue.exchange(self.owner, ended, wanted)
                failures = 0
            except asyncio.CancelledError:
                self._ended = ended + self._ended
                raise
            except Exception as error:
                # What could not be written is written later; without effect, if somebody else took the jobs back.
                self._ended = ended + self._ended
                failures += 1
                log.exception("jobs_not_settled", error, count=len(ended), failures=failures)
                await asyncio.sleep(_BACKOFF.delay_s(failures))
                continue
            self._forget(ended)
            for job in jobs:
                attempt = self._attempts[job.uid] = _Attempt(job)
                self._free[job.kind] -= 1
                tasks.create_task(self._work(attempt))
            if not jobs and not self._ended:
                await wait_for_wake(self._hints.work, self._timing.poll_s)

    async def _settle_last(self) -> None:
        """Writes how the attempts ended that were given up."""
        try:
            async with asyncio.timeout(_SETTLE_LAST_S):
                await self._queue.exchange(self.owner, self._ended, {})
            self._forget(self._ended)
        except Exception as error:
            log.exception("jobs_left_behind", error, count=len(self._ended))  # until their leases run out

    def _forget(self, ended: Sequence[Settlement]) -> None:
        for one in ended:
            attempt = self._attempts.get(one.job.uid)
            if attempt is not None and attempt.job.claim == one.job.claim:
                del self._attempts[one.job.uid]
            self._hints.changed(one.job.uid)

    async def _work(self, attempt: _Attempt) -> None:
        job = attempt.job
        self._hints.changed(job.uid)
        outcome: Outcome | None = Outcome(End.LOST, "WORKER_STOPPED: The mesh was stopped while the job ran.")
        try:
            outcome = await self._outcome(attempt)
        finally:
            if outcome is not None:
                self._ended.append(Settlement(job, outcome))
            else:
                log.warning("job_lease_lost", job=job.uid, attempt=job.attempt)
                if self._attempts.get(job.uid) is attempt:
                    del self._attempts[job.uid]
            self._free[job.kind] += 1
            self._hints.work.set()

    async def _outcome(self, attempt: _Attempt) -> Outcome | None:
        """What the attempt came to; None where it is not ours any more."""
        job = attempt.job
        try:
            async with attempt.scope:
                with (
                    telemetry.within(job.traceparent, job.workspace_uid),
                    telemetry.span("job", job=job.uid, attempt=job.attempt),
                ):
                    return await self._runners[job.kind].run(job)
        except TimeoutError as error:
            if attempt.lost:
                return None
            if attempt.cancelled:
                return Outcome(End.CANCELLED, "CANCELLED: The job was cancelled while it ran.")
            log.exception("job_broke", error, job=job.uid)
        except Exception as error:
            log.exception("job_broke", error, job=job.uid)
        return Outcome(End.FAILED, "INTERNAL: Something went wrong inside the mesh; see the log of invoke_svc.")

    async def _keep(self) -> None:
        if not self._attempts:
            return
        before = dict(self._attempts)
        ours = await self._queue.keep(self.owner)
        for uid, attempt in before.items():
            claim, cancel = ours.get(uid, (0, False))
            if claim != attempt.job.claim:
                attempt.lost = True  # or it has just been settled, and stopping it does nothing
                attempt.stop()
            elif cancel:
                self._cancel(attempt)

    async def _look_for_cancelled(self) -> None:
        if not self._attempts:
            return
        for uid, claim in (await self._queue.cancelled(self.owner)).items():
            attempt = self._attempts.get(uid)
            if attempt is not None and attempt.job.claim == claim:
                self._cancel(attempt)

    def _cancel(self, attempt: _Attempt) -> None:
        attempt.cancelled = True
        attempt.stop()

    async def _recover(self) -> bool:
        lost = await self._queue.recover()
        if lost:
            log.warning("jobs_taken_back", count=lost)
            self._hints.work.set()
        return lost > 0
