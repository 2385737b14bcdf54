"""Claims builds and works on them: lease, heartbeat, time limit, cancellation, and what each end means."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from build_svc.domain import (
    MAX_ATTEMPTS,
    Artifact,
    Build,
    BuildFailed,
    BuildState,
    Push,
    Runtime,
    retry_delay_s,
    waiting_delay_s,
)
from build_svc.hints import Hints
from build_svc.journal import BuildJournal
from build_svc.leases import LeaseLost
from build_svc.pipeline import Pipeline
from build_svc.ports import Registry
from build_svc.publishing import Publisher
from build_svc.store import BuildStore
from build_svc.targets import Targets
from mesh import disk, ids, telemetry
from mesh.clock import Clock
from mesh.errors import Aborted, DeadlineExceeded, MeshError, Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
_TRANSIENT = (Unavailable, DeadlineExceeded, Aborted)
_ACCEPT_S = 30.0
_OVERTAKEN = "The build was cancelled: a newer one was asked for before anybody was told that this one is accepted."


class _CancelRequested(Exception):
    """Somebody wants the build cancelled."""


@dataclass(frozen=True)
class Claimed:
    """A build that is ours until its lease ends; `owner` is of this claim alone."""

    build: Build
    owner: str


@dataclass(frozen=True)
class _Outcome:
    state: BuildState
    error: str = ""
    artifact: Artifact | None = None
    cached: bool = False
    push: Push | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds: the lease of a claim, and what a build may take in all."""

    lease_s: float
    limit_s: float


class Worker:
    """`claim` and `work` for `mesh.loops.claim_loop`."""

    def __init__(
        self,
        store: BuildStore,
        pipeline: Pipeline,
        publisher: Publisher,
        registry: Registry,
        targets: Targets,
        hints: Hints,
        timing: Timing,
        clock: Clock,
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._publisher = publisher
        self._registry = registry
        self._targets = targets
        self._hints = hints
        self._timing = timing
        self._clock = clock

    async def claim(self) -> Claimed | None:
        """The next build, or None; builds that end without work (cancelled, tried too often) end here."""
        owner = ids.new_id("claim-")
        build = await self._store.claim(owner, lease_s=self._timing.lease_s, accept_s=_ACCEPT_S)
        self._hints.reports.set()
        return Claimed(build, owner) if build else None

    async def work(self, claimed: Claimed) -> None:
        """Bring the build to its end, or give it back where that is not its own fault."""
        build, owner = claimed.build, claimed.owner
        log.info("build_claimed", build=build.uid, function=build.function, attempt=build.attempts)
        self._hints.changed(build.uid)
        try:
            with telemetry.within(build.traceparent, build.workspace), telemetry.span("build", build=build.uid):
                outcome = await self._guarded(build, owner)
        except LeaseLost:
            log.warning("build_lease_lost", build=build.uid)
            return
        except asyncio.CancelledError:  # we are stopping: anybody may go on at once
            await asyncio.shield(self._store.postpone(build.uid, owner, delay_s=0, counts=False))
            raise
        if outcome is not None:
            with suppress(LeaseLost):
                await self._finish(build, owner, outcome)
        self._hints.changed(build.uid)
        self._hints.reports.set()

    async def _finish(self, build: Build, owner: str, outcome: _Outcome) -> None:
        ended = await self._store.finish(
            build.uid,
            owner,
            outcome.state,
            error=outcome.error,
            artifact=outcome.artifact,
            cached=outcome.cached,
            push=outcome.push,
        )
        log.info("build_ended", build=build.uid, state=ended.state.value, cached=ended.cached, error=ended.error)

    async def _guarded(self, build: Build, owner: str) -> _Outcome | None:
        """The outcome, with the lease kept meanwhile; None where the build was given back."""
        journal = BuildJournal(self._store, self._hints, build.uid, owner, publishes=build.push is not None)
        result: list[_Outcome | None] = []
        lost = False
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [
                    tasks.create_task(self._keep(build.uid, owner)),
                    tasks.create_task(journal.run()),
                ]
                result.append(await self._outcome(build, owner, journal))
                for helper in helpers:
                    helper.cancel()
        except* _CancelRequested:
            result = [_Outcome(BuildState.CANCELLED, "The build was cancelled.")]
        except* LeaseLost:
            lost = True  # raised here it would be in a group, in Python before 3.11.4
        if lost:
            raise LeaseLost(build.uid)
        with suppress(LeaseLost):
            await journal.flush()
        return result[0]

    async def _keep(self, uid: str, owner: str) -> None:
        """Renew the lease and look for a wish to cancel, three times a lease and on every hint."""
        with self._hints.listening(uid) as changed:
            while True:
                if await self._store.heartbeat(uid, owner, self._timing.lease_s):
                    raise _CancelRequested
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._timing.lease_s / 3):
                        await self._hints_of_cancelling(uid, changed)

    async def _hints_of_cancelling(self, uid: str, changed: asyncio.Event) -> None:
        """Returns when the build is to be cancelled; its own events are no news."""
        while True:
            await changed.wait()
            changed.clear()
            if uid in self._hints.cancelling:
                return

    async def _outcome(self, build: Build, owner: str, journal: BuildJournal) -> _Outcome | None:
        try:
            async with asyncio.timeout(self._timing.limit_s):
                if build.attempts > 1:
                    await journal.line(f"The builder was restarted; attempt {build.attempts} of {MAX_ATTEMPTS}.")
                asked_to_cancel = build.cancel_requested
                build = await self._accepted(build)
                if build.cancel_requested and not asked_to_cancel:
                    return _Outcome(BuildState.CANCELLED, _OVERTAKEN)
                if build.push is not None:
                    self._publisher.check_target(build)
                artifact, cached = await self._pipeline.run(build, owner, journal)
                pushed = await self._publisher.publish(build, artifact, journal) if build.push is not None else None
            return _Outcome(BuildState.DONE, artifact=artifact, cached=cached, push=pushed)
        except BuildFailed as error:
            return _Outcome(BuildState.FAILED, str(error))
        except TimeoutError:
            limit = (
                f"{self._timing.limit_s / 60:g} minutes"
                if self._timing.limit_s >= 60
                else f"{self._timing.limit_s:g} s"
            )
            return _Outcome(
                BuildState.FAILED,
                f"The build took longer than its limit of {limit} and was stopped; ask for fewer libraries.",
            )
        except _TRANSIENT as error:
            if self._is_old(build):
                return _Outcome(BuildState.FAILED, error.message)
            log.warning("build_postponed", build=build.uid, reason=error.reason)
            delay_s = waiting_delay_s(self._waited_s(build))
            await self._store.postpone(build.uid, owner, delay_s=delay_s, counts=False)
            return None
        except MeshError as error:  # the registry or the blob store refuses
            return _Outcome(BuildState.FAILED, error.message)
        except LeaseLost:
            raise
        except Exception as error:
            behind = disk.told(error)
            if behind is not None:
                return _Outcome(BuildState.FAILED, behind.message)
            log.exception("build_broke", error, build=build.uid, attempt=build.attempts)
            if build.attempts >= MAX_ATTEMPTS:
                return _Outcome(BuildState.FAILED, "Something went wrong inside the builder; see the log of build_svc.")
            await self._store.postpone(build.uid, owner, delay_s=retry_delay_s(build.attempts), counts=True)
            return None

    def _is_old(self, build: Build) -> bool:
        """Whether waiting for others has taken as long as a build may take."""
        return self._waited_s(build) > self._timing.limit_s

    def _waited_s(self, build: Build) -> float:
        began = build.start_time or build.create_time
        return (self._clock.now() - began).total_seconds()

    async def _accepted(self, build: Build) -> Build:
        """The build with its revision: it has none yet where its creator was stopped before it could say so."""
        if build.revision:
            return build
        runtime = Runtime(build.runtime) if build.runtime else None
        target = await self._targets.default(runtime)
        revision, function = await self._registry.create_revision(build, runtime, target)
        return await self._store.accept(
            build.uid,
            revision=revision,
            runtime=function.runtime,
            target=function.target or target.value,
            handler=function.handler,
            is_late=True,
        )
