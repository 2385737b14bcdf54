"""Keeps the tables and working copies small."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from deploy_svc.domain import Target
from deploy_svc.log_collector import LogCollector
from deploy_svc.log_store import LogBounds, LogStore
from deploy_svc.ports import Driver
from deploy_svc.store import Store
from mesh.clock import Clock, Steadiness
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.loops import wait_for_wake

log = get_logger(__name__)
_ENDED_S = 600.0
_STEADY_S = 3600.0  # nothing is deleted for its age so soon after the clock has jumped
_SWEEP_ROUNDS = 20


class Housekeeping:
    """Trims logs each interval; ended instances, old lines and unused working copies now and then."""

    def __init__(
        self,
        store: Store,
        logs: LogStore,
        collector: LogCollector,
        drivers: Mapping[Target, Driver],
        clock: Clock,
        *,
        bounds: LogBounds,
        log_days: float,
        interval_s: float,
    ) -> None:
        self._store, self._logs, self._collector, self._drivers = store, logs, collector, drivers
        self._clock = clock
        self._bounds, self._log_days, self._interval_s = bounds, log_days, interval_s
        self._steadiness = Steadiness(clock)

    async def run(self) -> None:
        """Clean up until cancelled."""
        swept = float("-inf")
        while True:
            await wait_for_wake(self._collector.flooded, self._interval_s)
            try:
                await self.trim()
                if self._clock.monotonic() - swept >= _SWEEP_ROUNDS * self._interval_s:
                    swept = self._clock.monotonic()
                    await self.sweep()
            except Exception as error:
                log.exception("housekeeping_failed", error)

    async def trim(self) -> None:
        """Bring the logs of functions that wrote lately within their bounds."""
        grown, self._collector.grown = self._collector.grown, set()
        for uid in grown:
            await self._logs.trim(uid, self._bounds)

    async def sweep(self) -> None:
        """Delete what is too old, and working copies that no function used lately."""
        now = self._clock.now()
        if self._steadiness.lasted(_STEADY_S):
            await self._logs.expire(now - timedelta(days=self._log_days))
        await self._store.purge_ended(now - timedelta(seconds=_ENDED_S))
        used = await self._store.used_artifacts()
        for target, driver in self._drivers.items():
            try:
                await driver.keep_artifacts(used)
            except MeshError as error:
                log.debug("artifacts_not_swept", target=target, reason=error.reason)
