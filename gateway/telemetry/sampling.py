"""How many requests are traced from the start: all of them while there are few, then a share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.envoy.admin import AdminError
from mesh.clock import Clock, SystemClock


def share_for(requests_per_s: float, *, rate: float, least: float) -> float:
    """The share of requests to record so that about `rate` a second are, and never less than `least`."""
    if requests_per_s <= rate:
        return 1.0
    return max(least, rate / requests_per_s)


@dataclass
class Pace:
    """Requests a second between two looks at a counter that begins again at zero when Envoy does."""

    counted: int | None = None
    at: float = 0.0

    def step(self, total: int, now: float) -> float:
        """The pace since the last look; 0 for the first."""
        before, since = self.counted, now - self.at
        self.counted, self.at = total, now
        if before is None or total < before or since <= 0:
            return 0.0
        return (total - before) / since


class SamplingLoop:
    """Looks at Envoy's request counter once in a while and sets the share by it.

    The share follows load by one interval: the first second of a burst is recorded whole. Small changes are not
    worth a new configuration of Envoy's.
    """

    def __init__(
        self,
        count: Callable[[], Awaitable[int]],
        apply: Callable[[float], None],
        *,
        rate: float,
        least: float,
        clock: Clock | None = None,
    ) -> None:
        self._count = count
        self._apply = apply
        self._rate = rate
        self._least = least
        self._clock = clock or SystemClock()
        self._pace = Pace()
        self._share: float | None = None

    async def step(self) -> None:
        """One look. With a rate of zero the share is always the least: nobody is asked then."""
        share = self._least
        if self._rate > 0:
            try:
                total = await self._count()
            except AdminError:
                return
            pace = self._pace.step(total, self._clock.monotonic())
            share = share_for(pace, rate=self._rate, least=self._least)
        if self._share is None or abs(share - self._share) > 0.1 * self._share or share == 1.0 != self._share:
            self._share = share
            self._apply(share)
