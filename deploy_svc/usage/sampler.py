"""Asks the meters again and again, and keeps each minute when it is over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from deploy_svc.domain import Instance, Target
from deploy_svc.usage.domain import KEPT_MINUTES, Minute, Now, Percents, Tally, Use, percent
from deploy_svc.usage.meters import Meter
from deploy_svc.usage.store import TargetMinute, UsageStore
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.loops import run_forever

log = get_logger(__name__)
_UNWRITTEN = 2 * KEPT_MINUTES  # while the database does not answer


class Instances(Protocol):
    """Knows the instances there are."""

    async def live_instances(self) -> list[Instance]:
        """Those that may run."""
        ...


class Sampler:
    """Measures all instances; says what they use now, and in the minute that is not over."""

    def __init__(
        self,
        instances: Instances,
        meters: Sequence[Meter],
        store: UsageStore,
        clock: Clock,
        keeps: Callable[[], bool] = lambda: True,
        *,
        interval_s: float,
    ) -> None:
        self._instances, self._meters, self._store, self._clock = instances, meters, store, clock
        self._keeps = keeps
        self._interval_s = interval_s
        self._tallies: dict[Target, Tally] = defaultdict(Tally)
        self._unwritten: list[TargetMinute] = []
        self._silent: set[Target] = set()

    async def run(self) -> None:
        """Measure until cancelled."""
        await run_forever(self.step, interval_s=self._interval_s, name="usage")

    async def step(self) -> None:
        """One round."""
        live = await self._instances.live_instances()
        for meter in self._meters:
            try:
                await self._measure(meter, [one for one in live if one.target is meter.target and one.handle])
                self._silent.discard(meter.target)
            except MeshError as error:
                if meter.target not in self._silent:
                    log.warning("usage_not_read", target=meter.target, reason=error.reason)
                self._silent.add(meter.target)
                self._tallies[meter.target].now = {}
        if self._keeps():  # of several processes that measure, one
            await self._store.put(self._unwritten)
        self._unwritten = []

    async def _measure(self, meter: Meter, instances: Sequence[Instance]) -> None:
        functions = {one.uid: one.function_uid for one in instances}
        readings = {uid: (functions[uid], one) for uid, one in (await meter.read(instances)).items()}
        tally = self._tallies[meter.target]
        ended = tally.add(self._clock.now().timestamp(), self._clock.monotonic(), readings, functions.keys())
        if ended is not None:
            one = TargetMinute(meter.target, ended, await self._percents(meter, ended))
            self._unwritten = [*self._unwritten, one][-_UNWRITTEN:]

    async def _percents(self, meter: Meter, minute: Minute) -> Percents:
        return percent(minute.total, await meter.capacity()) if minute.functions else (0.0, 0.0)

    def now(self) -> dict[str, Now]:
        """What each function's instances use, where it has any."""
        found: dict[str, Now] = {}
        for tally in self._tallies.values():
            for uid, one in tally.now.items():
                other = found.get(uid, Now(0, Use(), 0.0))
                found[uid] = Now(one.instances + other.instances, one.use + other.use, max(one.at_s, other.at_s))
        return found

    async def running(self) -> list[TargetMinute]:
        """The minutes that are not over; of a target that does not answer none."""
        found = []
        for meter in self._meters:
            minute = self._tallies[meter.target].running()
            if minute is not None and meter.target not in self._silent:
                try:
                    found.append(TargetMinute(meter.target, minute, await self._percents(meter, minute)))
                except MeshError as error:
                    log.debug("capacity_unknown", target=meter.target, reason=error.reason)
        return found
