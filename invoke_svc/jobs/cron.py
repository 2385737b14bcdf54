"""When a schedule's times are: cron expressions as Debian's cron reads them, in a time zone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

LATE_S = 60.0
"""A time that is longer ago was missed."""
_FIELDS = 5


class CronInvalid(Exception):
    """The expression is none, or never comes; the text is a sentence that says so."""


class TimeZoneInvalid(Exception):
    """There is no such time zone."""


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression in a time zone (empty: UTC)."""

    expression: str
    time_zone: str = ""

    def check(self, now: float) -> None:
        """Raises CronInvalid, TimeZoneInvalid."""
        self._zone()
        if len(self.expression.split()) != _FIELDS:
            raise CronInvalid("A cron expression has five fields: minute, hour, day of month, month, day of week.")
        self.after(now)

    def after(self, moment: float) -> float:
        """The first time after a moment (seconds since the epoch). Raises CronInvalid where there is none."""
        return self._step(moment, reverse=False)

    def latest(self, due: float, now: float) -> float:
        """The last time up to now; `due` is one that has come."""
        return max(due, self._step(math.floor(now) + 1, reverse=True))  # times are whole seconds

    def _step(self, moment: float, *, reverse: bool) -> float:
        try:
            times = CronSim(self.expression, datetime.fromtimestamp(moment, self._zone()), reverse=reverse)
            return next(times).timestamp()
        except CronSimError as error:
            raise CronInvalid(f"'{self.expression}' is not a cron expression: {error}.") from None
        except (StopIteration, OverflowError, ValueError):
            raise CronInvalid(f"'{self.expression}' names a time that never comes.") from None

    def _zone(self) -> tzinfo:
        if not self.time_zone:
            return UTC
        try:
            return ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):
            raise TimeZoneInvalid(f"There is no time zone '{self.time_zone}'; write it as Europe/Berlin.") from None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a schedule whose time has come does: the time to make a job for (None: missed), and the next one."""

    tick: float | None
    next_due: float


def plan(cron: Cron, due: float, now: float, *, make_up: bool) -> Plan:
    """What is to be done now for a schedule that was due at a time. Of several times that have come only the latest
    counts; one that was missed only where it is to be made up for.
    """
    latest = cron.latest(due, now)
    on_time = now - latest <= LATE_S
    return Plan(latest if on_time or make_up else None, cron.after(now))
