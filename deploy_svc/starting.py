"""Starts instances and waits until they are ready: a task for each row that is STARTING."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deploy_svc.clusters import WHAT_TO_SET
from deploy_svc.domain import FailureKind, Instance, InstanceState, Policy, Target, Workload
from deploy_svc.ending import Ending
from deploy_svc.fleet import Fleet
from deploy_svc.log_collector import LogCollector
from deploy_svc.ports import Driver, Exit, InstanceSpec, Prober, Registry, Started
from deploy_svc.store import Store
from deploy_svc.wakes import Wakes
from mesh import disk, telemetry
from mesh.clock import Clock
from mesh.errors import MeshError, Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
_PROBE_FIRST_S, _PROBE_LAST_S = 0.002, 0.1
_PROBE_TIGHT_S = 0.25  # most interpreters are up by then
_PROBE_TIMEOUT_S = 5.0


class StartFailed(Exception):
    """An instance will not become ready; the text says why. `kind` says whose fault it is."""

    def __init__(self, message: str, kind: FailureKind = FailureKind.START) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What starting an instance needs."""

    store: Store
    registry: Registry
    drivers: Mapping[Target, Driver]
    prober: Prober
    fleet: Fleet
    ending: Ending
    logs: LogCollector
    wakes: Wakes
    clock: Clock
    policy: Policy
    requeue: Callable[[str], None]


class Starting:
    """The instances that are being started."""

    def __init__(self, around: Surroundings) -> None:
        self._a = around
        self._running: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[tuple[str, int], asyncio.Task[Workload | Exception]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def attach(self, tasks: asyncio.TaskGroup) -> None:
        """Starts belong to this group."""
        self._tasks = tasks

    def announce(self, function: str, revision: int) -> None:
        """An instance of a revision is about to begin: what it needs is asked for while its row is written."""
        if self._tasks is not None:
            self._asked[function, revision] = self._tasks.create_task(self._ask(function, revision))

    def begin(self, instance: Instance, slot: int, instances: int) -> None:
        """Start an instance whose row is there, or go on with it after a restart of this process."""
        if self._tasks is None or instance.uid in self._running or self._a.ending.is_ending(instance.uid):
            return
        self._a.fleet.starting(instance.uid, begun=True)
        self._running[instance.uid] = self._tasks.create_task(self._start(instance, slot, instances))

    async def cancel(self, instance: str) -> None:
        """Stop starting it; whoever calls this ends it."""
        task = self._running.get(instance)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _start(self, instance: Instance, slot: int, instances: int) -> None:
        try:
            with telemetry.span("deploy.start_instance", function=instance.function_uid, revision=instance.revision):
                failure = await self._attempt(instance, slot, instances)
            if failure is not None:
                await self._failed(instance, failure)
        finally:
            self._running.pop(instance.uid, None)
            self._a.fleet.starting(instance.uid, begun=False)
        self._a.requeue(instance.function_uid)

    async def _attempt(self, instance: Instance, slot: int, instances: int) -> StartFailed | None:
        """Bring it to READY; or why that did not work."""
        try:
            await self._until_ready(instance, slot, instances)
        except StartFailed as error:
            return error
        except Unavailable as error:
            return StartFailed(error.message, FailureKind.UNAVAILABLE)
        except MeshError as error:
            return StartFailed(error.message)
        except Exception as error:
            behind = disk.told(error)
            if behind is not None:
                return StartFailed(behind.message, FailureKind.UNAVAILABLE)
            log.exception("start_failed", error, instance=instance.uid)
            return StartFailed("Something went wrong inside the mesh; see its log.", FailureKind.UNAVAILABLE)
        return None

    async def _failed(self, instance: Instance, failure: StartFailed) -> None:
        a, why = self._a, str(failure)
        log.warning("instance_not_ready", instance=instance.uid, kind=failure.kind, why=why)
        await a.store.failed(instance.function_uid, instance.revision, failure.kind, why, a.clock.now())
        a.ending.begin(instance, InstanceState.FAILED, why)

    async def _until_ready(self, instance: Instance, slot: int, instances: int) -> None:
        a = self._a
        workload = await self._workload(instance)
        driver = a.drivers.get(workload.target)
        if driver is None:
            raise StartFailed(WHAT_TO_SET)
        spec = InstanceSpec(instance.uid, workload, slot, instances)
        started = await driver.start(spec)
        # Written while it boots. Should this process die before, its successor starts the same instance again,
        # which the driver then finds running.
        changed = await a.store.set_started(
            instance.uid,
            target=workload.target,
            artifact=workload.artifact.digest,
            concurrency=workload.limits.concurrency,
            timeout_ms=workload.limits.timeout_ms,
            handle=started.handle,
            address=started.address,
        )
        if changed is None:
            return
        a.logs.follow(changed)
        a.logs.say(changed, f"Started revision {changed.revision} ({workload.target} {started.handle}).")
        await self._probe(changed, started)
        if await a.store.change_instance(instance.uid, InstanceState.READY, ready_at=a.clock.now()):
            log.info("instance_ready", instance=instance.uid, function=instance.function_uid)
            a.wakes.notify()

    async def _workload(self, instance: Instance) -> Workload:
        asked = self._asked.pop((instance.function_uid, instance.revision), None)
        found = await (asked or self._ask(instance.function_uid, instance.revision))
        if isinstance(found, Exception):
            raise found
        return found

    async def _ask(self, function: str, revision: int) -> Workload | Exception:
        try:
            return await self._a.registry.workload(function, revision)
        except Exception as error:
            return error

    async def _probe(self, instance: Instance, started: Started) -> None:
        a = self._a
        limit_s = a.policy.start_limit_s
        passed_s = max(0.0, (a.clock.now() - instance.created_at).total_seconds())  # less where the clock went back
        ends = a.clock.monotonic() + limit_s - passed_s
        pause, tight_until = _PROBE_FIRST_S, a.clock.monotonic() + _PROBE_TIGHT_S
        while True:
            answer = await a.prober.ready(started.address, _PROBE_TIMEOUT_S, asks=instance.answers_probes)
            if answer.ready:
                return
            if answer.failed:
                raise StartFailed(answer.message)
            exit_ = a.fleet.exit_of(instance.uid)
            if exit_ is not None:
                raise StartFailed(_told(exit_, await a.logs.last_words(instance.uid)))
            if a.clock.monotonic() >= ends:
                raise StartFailed(f"It did not become ready within {limit_s:g} s.")
            await asyncio.sleep(pause)
            if a.clock.monotonic() > tight_until:
                pause = min(_PROBE_LAST_S, pause * 1.5)


def _told(exit_: Exit, last_words: str) -> str:
    sentence = f"{exit_.sentence} It never became ready"
    return f"{sentence}: {last_words}" if last_words else f"{sentence}."
