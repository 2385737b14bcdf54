"""The instances that there really are: what the drivers last saw, and what became of those that ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping

from deploy_svc.domain import FailureKind, Instance, InstanceState, Target
from deploy_svc.ending import Ending
from deploy_svc.log_collector import LogCollector
from deploy_svc.ports import Driver, Exit, Observed
from deploy_svc.store import Store
from deploy_svc.wakes import Wakes
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.loops import wait_for_wake

log = get_logger(__name__)


class Fleet:
    """Compares what the drivers see with the rows: ends that nobody asked for, and things without a row."""

    def __init__(
        self,
        store: Store,
        drivers: Mapping[Target, Driver],
        ending: Ending,
        logs: LogCollector,
        changes: Wakes,
        clock: Clock,
        requeue: Callable[[str], None],
        wake: asyncio.Event,
        *,
        interval_s: float = 1.0,
    ) -> None:
        self._store = store
        self._drivers = drivers
        self._ending = ending
        self._logs = logs
        self._changes = changes
        self._clock = clock
        self._requeue = requeue
        self._wake = wake
        self._interval_s = interval_s
        self._seen: dict[Target, Mapping[str, Observed]] = {}
        self._starting: set[str] = set()

    def exit_of(self, instance: str) -> Exit | None:
        """How an instance ended, as last seen; None while it runs."""
        for seen in self._seen.values():
            if instance in seen:
                return seen[instance].exit
        return None

    def starting(self, instance: str, *, begun: bool) -> None:
        """Its starter looks after the instance (or does not any more): it is no orphan, and its end no crash."""
        if begun:
            self._starting.add(instance)
        else:
            self._starting.discard(instance)

    async def run(self) -> None:
        """Look every interval, and when a driver says that something changed; until cancelled."""
        while True:
            for target, driver in self._drivers.items():
                try:
                    await self._look(target, driver)
                except MeshError as error:
                    log.debug("driver_unavailable", target=target, reason=error.reason)
                except Exception as error:
                    log.exception("observing_failed", error, target=target)
            await wait_for_wake(self._wake, self._interval_s)

    async def _look(self, target: Target, driver: Driver) -> None:
        rows = {i.uid: i for i in await self._store.live_instances([target])}
        seen = await driver.observe()  # after the rows: what is seen and has no row now has none at all
        self._seen[target] = seen
        for uid in rows.keys() & seen.keys():
            if rows[uid].handle:
                self._logs.follow(rows[uid])  # a predecessor of this process may have started it
        for uid, instance in rows.items():
            if uid in self._starting or self._ending.is_ending(uid):
                continue
            observed = seen.get(uid)
            if observed is None and instance.state is InstanceState.STARTING:
                continue  # a starter will begin it again
            if observed is None or observed.exit is not None:
                await self._crashed(instance, (observed and observed.exit) or Exit())
            elif observed.address and observed.address != instance.address:
                await self._store.change_instance(uid, address=observed.address, handle=observed.handle)
                self._changes.notify()
        for uid in seen.keys() - rows.keys() - self._starting:
            if not self._ending.is_ending(uid):
                await self._orphan(target, uid)

    async def _crashed(self, instance: Instance, exit_: Exit) -> None:
        if exit_.signal == signal.SIGABRT and await self._logs.heap_was_full(instance.uid):
            exit_ = Exit(out_of_memory=True, detail="Out of memory: the JavaScript heap reached its limit.")
        log.warning("instance_crashed", instance=instance.uid, function=instance.function_uid, how=exit_.sentence)
        if instance.state is not InstanceState.DRAINING:
            await self._store.failed(
                instance.function_uid, instance.revision, FailureKind.CRASH, exit_.sentence, self._clock.now()
            )
        self._ending.begin(instance, InstanceState.FAILED, exit_.sentence, stop=False)
        self._requeue(instance.function_uid)

    async def _orphan(self, target: Target, uid: str) -> None:
        row = await self._store.instance(uid)
        if row is None or not row.live:
            log.warning("orphan_removed", instance=uid, target=target)
            await self._drivers[target].stop(uid, 0)
            await self._drivers[target].remove(uid)
