"""Time as a thing that is passed in, so that tests own it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """The time of day, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class FakeClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2030, 1, 1, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Lets so many seconds pass."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Sets the time of day forward, or back where negative; no time passes."""
        self._now += timedelta(seconds=seconds)


class Steadiness:
    """Notices when the time of day jumps: what is forgotten by its age must not be forgotten because of that."""

    def __init__(self, clock: Clock, *, tolerance_s: float = 60.0) -> None:
        self._clock = clock
        self._tolerance_s = tolerance_s
        self._seen = (clock.now(), clock.monotonic())
        self._jumped: float | None = None

    def lasted(self, seconds: float) -> bool:
        """Whether no jump was noticed within the last so many seconds. To be asked again and again."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        passed = (now - self._seen[0]).total_seconds() - (monotonic - self._seen[1])
        if abs(passed) > self._tolerance_s:
            self._jumped = monotonic
        self._seen = (now, monotonic)
        return self._jumped is None or monotonic - self._jumped >= seconds


class Countdowns:
    """Times of day at which something is due, as they are stored, counted down in time that really passes.

    Once a countdown has begun here, a jump of the clock does not change it. One that begins late (its time was stored
    by a process before this one) is at most as long as it can be at all, however far the clock went back meanwhile.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[str, tuple[datetime, float]] = {}

    def due(self, key: str, at: datetime, *, at_most_s: float) -> datetime:
        """When it is due, said in the time of day as it is now."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        known = self._ends.get(key)
        if known is None or known[0] != at:
            left_s = min(max(0.0, (at - now).total_seconds()), at_most_s)
            known = self._ends[key] = (at, monotonic + left_s)
        return now + timedelta(seconds=known[1] - monotonic)

    def forget(self, key: str) -> None:
        """It is over."""
        self._ends.pop(key, None)
