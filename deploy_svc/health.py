"""Looks after ready instances: one that has not answered for too long is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deploy_svc.domain import LOCAL_TARGETS, FailureKind, Instance, InstanceState
from deploy_svc.ports import Prober
from deploy_svc.store import Store
from mesh.clock import Clock
from mesh.logs import get_logger

log = get_logger(__name__)
_AT_ONCE = 16
_PROBE_TIMEOUT_S = 5.0
_BEYOND_TIMEOUT_S = 5.0


class Health:
    """Probes every ready instance each interval.

    A handler may block its whole process for as long as a request may take, so an instance counts as unhealthy
    only when it was silent for longer than that, and for `silent_s` at least.
    """

    def __init__(
        self,
        store: Store,
        prober: Prober,
        clock: Clock,
        requeue: Callable[[str], None],
        *,
        interval_s: float,
        silent_s: float,
    ) -> None:
        self._store, self._prober, self._clock = store, prober, clock
        self._requeue = requeue
        self._interval_s, self._silent_s = interval_s, silent_s
        self._silent_since: dict[str, float] = {}

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
            except Exception as error:
                log.exception("health_checks_failed", error)

    async def look(self) -> None:
        """Probe all of them once."""
        live = await self._store.live_instances(LOCAL_TARGETS)
        ready = [i for i in live if i.state is InstanceState.READY and not i.retired]
        known = {i.uid for i in ready}
        self._silent_since = {uid: at for uid, at in self._silent_since.items() if uid in known}
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def one(instance: Instance) -> None:
            async with at_once:
                await self._probe(instance)

        async with asyncio.TaskGroup() as tasks:
            for instance in ready:
                tasks.create_task(one(instance))

    async def _probe(self, instance: Instance) -> None:
        began = self._clock.monotonic()
        answer = await self._prober.ready(instance.address, _PROBE_TIMEOUT_S, asks=instance.answers_probes)
        if answer.ready:
            self._silent_since.pop(instance.uid, None)
            return
        since = self._silent_since.setdefault(instance.uid, began)
        silent_s = self._clock.monotonic() - since
        if silent_s < max(self._silent_s, instance.timeout_ms / 1000 + _BEYOND_TIMEOUT_S):
            return
        why = f"It did not answer for {silent_s:.0f} s."
        log.warning("instance_unhealthy", instance=instance.uid, function=instance.function_uid, why=why)
        await self._store.failed(instance.function_uid, instance.revision, FailureKind.CRASH, why, self._clock.now())
        await self._store.change_instance(instance.uid, retired=why)
        self._requeue(instance.function_uid)
