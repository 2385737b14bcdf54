"""Tells the registry how deployments are, until it has acknowledged it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from deploy_svc.domain import Target
from deploy_svc.ports import Driver, Registry
from deploy_svc.store import Store
from deploy_svc.wakes import Wakes
from mesh.errors import MeshError, NotFound, Unavailable
from mesh.logs import get_logger
from mesh.loops import Backoff, wait_for_wake

log = get_logger(__name__)
_BACKOFF = Backoff(first_s=0.2, limit_s=5.0)
_INTERVAL_S = 15.0


class Reporting:
    """Sends what the tables say is not acknowledged; the registry ignores what it has heard of already.

    `wakes` tell that there is something to send, `changes` are told what was acknowledged.
    """

    def __init__(
        self, store: Store, registry: Registry, drivers: Mapping[Target, Driver], wakes: Wakes, changes: Wakes
    ) -> None:
        self._store, self._registry, self._drivers = store, registry, drivers
        self._wakes, self._changes = wakes, changes

    async def run(self) -> None:
        """Report until cancelled."""
        failures = 0
        with self._wakes.listening() as wake:
            while True:
                try:
                    await self.send()
                    failures = 0
                except Exception as error:
                    failures += 1
                    if isinstance(error, MeshError):
                        log.warning("report_not_taken", reason=error.reason, failures=failures)
                    else:
                        log.exception("report_failed", error)
                    await asyncio.sleep(_BACKOFF.delay_s(failures))
                    continue
                await wait_for_wake(wake, _INTERVAL_S)

    async def send(self) -> None:
        """Send all that is not acknowledged. Raises what the registry raises."""
        for report in await self._store.pending_reports():
            try:
                await self._registry.report(report)
            except NotFound:
                log.info("report_of_unknown_function", function=report.function_uid)
            await self._store.reported(report.function_uid, report.number)
            self._changes.notify()
        for uid in await self._store.forgettable():
            await self._forget_data(uid)
            try:
                await self._registry.report_deleted(uid)
            except NotFound:
                log.info("deletion_known_already", function=uid)
            await self._store.forget(uid)
            log.info("function_forgotten", function=uid)

    async def _forget_data(self, uid: str) -> None:
        """Where a target does not answer, nothing is left there that outlives its instances."""
        for target, driver in self._drivers.items():
            try:
                await driver.forget(uid)
            except Unavailable as error:
                log.info("data_not_forgotten", target=target, function=uid, reason=error.reason)
