"""Ends instances: stop, read the last of the output, remember how, remove what is left. Repeatable at any point."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from deploy_svc.domain import Instance, InstanceState, Target
from deploy_svc.log_collector import LogCollector
from deploy_svc.ports import Driver
from deploy_svc.store import Store
from deploy_svc.wakes import Wakes
from deploy_svc.watchers import Watchers
from mesh import telemetry
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.loops import Backoff

log = get_logger(__name__)
_BACKOFF = Backoff(first_s=0.5, limit_s=10.0)


class Ending:
    """Runs each end as a task of its own, once for each instance."""

    def __init__(
        self,
        store: Store,
        drivers: Mapping[Target, Driver],
        logs: LogCollector,
        watchers: Watchers,
        wakes: Wakes,
        clock: Clock,
        requeue: Callable[[str], None],
        cleaned: Callable[[], None],
        *,
        grace_s: float,
    ) -> None:
        self._store, self._drivers, self._logs = store, drivers, logs
        self._watchers, self._wakes, self._clock = watchers, wakes, clock
        self._requeue, self._cleaned = requeue, cleaned
        self._grace_s = grace_s
        self._ending: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None

    def attach(self, tasks: asyncio.TaskGroup) -> None:
        """Ends belong to this group."""
        self._tasks = tasks

    def is_ending(self, instance: str) -> bool:
        """Whether the instance is being ended now."""
        return instance in self._ending

    def begin(self, instance: Instance, state: InstanceState, message: str, *, stop: bool = True) -> None:
        """End an instance in a state (STOPPED or FAILED); without `stop`, it has ended by itself."""
        if instance.uid in self._ending or self._tasks is None:
            return
        self._ending.add(instance.uid)
        self._tasks.create_task(self._end(instance, state, message, stop))

    async def _end(self, instance: Instance, state: InstanceState, message: str, stop: bool) -> None:
        failures = 0
        try:
            while True:
                try:
                    with telemetry.span("deploy.stop_instance", instance=instance.uid):
                        await self._once(instance, state, message, stop)
                    return
                except Exception as error:
                    failures += 1
                    if isinstance(error, MeshError):
                        log.warning("instance_not_ended", instance=instance.uid, reason=error.reason)
                    else:
                        log.exception("instance_not_ended", error, instance=instance.uid)
                    await asyncio.sleep(_BACKOFF.delay_s(failures))
        finally:
            self._ending.discard(instance.uid)
            self._requeue(instance.function_uid)

    async def _once(self, instance: Instance, state: InstanceState, message: str, stop: bool) -> None:
        driver = self._drivers.get(instance.target)
        if stop and driver is not None:
            await driver.stop(instance.uid, 0 if instance.state is InstanceState.STARTING else self._grace_s)
        ended = {"ended_at": self._clock.now(), "message": message}
        changed = await self._store.change_instance(instance.uid, state, **ended)
        if changed is not None:
            self._wakes.notify()
            self._logs.say(instance, message or "Stopped.")
            log.info("instance_ended", instance=instance.uid, state=state, message=message)
        self._requeue(instance.function_uid)
        if driver is not None:
            await driver.stop(instance.uid, 0)
        await self._logs.finish(instance.uid)
        if driver is not None:
            await driver.remove(instance.uid)
        await self._store.set_cleaned(instance.uid)
        self._cleaned()
        self._watchers.forget(instance.uid)
