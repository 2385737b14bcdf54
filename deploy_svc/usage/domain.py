"""Readings of instances, made into minutes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

MINUTE_S = 60
KEPT_MINUTES = 60


@dataclass(frozen=True, slots=True)
class Reading:
    """What an instance says: CPU time since it started (seconds), memory now (bytes)."""

    cpu_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine has."""

    cpus: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Use:
    """What is used: CPUs (1.0 is one of them all the time) and memory."""

    cpus: float = 0.0
    memory_bytes: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(self.cpus + other.cpus, self.memory_bytes + other.memory_bytes)


@dataclass(frozen=True, slots=True)
class Minute:
    """Mean use within a minute (its start in seconds since the epoch / 60), by function, and by all of them."""

    number: int
    functions: Mapping[str, Use]
    total: Use


@dataclass(frozen=True, slots=True)
class Now:
    """What a function's instances used when they were last asked."""

    instances: int
    use: Use
    at_s: float


@dataclass(slots=True)
class _Sums:
    number: int
    rounds: int = 0
    elapsed_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    memory: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def minute(self) -> Minute:
        functions = {
            uid: Use(self.cpu_s[uid] / self.elapsed_s if self.elapsed_s else 0.0, memory // self.rounds)
            for uid, memory in self.memory.items()
        }
        return Minute(self.number, functions, sum(functions.values(), Use()))


class Tally:
    """The readings of one target, round by round.

    CPU time is what an instance used since the round before; of one that is new, all that it ever used. In the very
    first round nothing is known of before, so it counts none.
    """

    def __init__(self) -> None:
        self._sums: _Sums | None = None
        self._last: dict[str, float] = {}
        self._last_s: float | None = None
        self.now: dict[str, Now] = {}

    def add(
        self,
        now_s: float,
        monotonic_s: float,
        readings: Mapping[str, tuple[str, Reading]],
        live: Set[str],
    ) -> Minute | None:
        """Adds a round: of each instance its function and reading. Returns the minute that this one has ended.

        `live` are all instances there are, also those that could not be read this time.
        """
        ended, number = None, int(now_s // MINUTE_S)
        if self._sums is not None and self._sums.number != number:
            ended, self._sums = self._sums.minute(), None
        sums = self._sums = self._sums or _Sums(number)
        first = self._last_s is None
        passed_s = 0.0 if self._last_s is None else monotonic_s - self._last_s
        used: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for instance, (function, reading) in readings.items():
            before = self._last.get(instance, reading.cpu_s if first else 0.0)
            used[function].append((max(0.0, reading.cpu_s - before), reading.memory_bytes))
        kept = {uid: cpu_s for uid, cpu_s in self._last.items() if uid in live}
        self._last = kept | {uid: reading.cpu_s for uid, (_, reading) in readings.items()}
        self._last_s = monotonic_s
        sums.rounds += 1
        sums.elapsed_s += passed_s
        self.now = {}
        for function, each in used.items():
            cpu_s, memory = sum(one[0] for one in each), sum(one[1] for one in each)
            sums.cpu_s[function] += cpu_s
            sums.memory[function] += memory
            self.now[function] = Now(len(each), Use(cpu_s / passed_s if passed_s > 0 else 0.0, memory), now_s)
        return ended

    def running(self) -> Minute | None:
        """The minute that has not ended, as far as it is known."""
        return self._sums.minute() if self._sums is not None and self._sums.rounds else None


def percent(use: Use, capacity: Capacity) -> tuple[float, float]:
    """CPU and memory in percent of a machine's."""
    cpu = 100.0 * use.cpus / capacity.cpus if capacity.cpus else 0.0
    memory = 100.0 * use.memory_bytes / capacity.memory_bytes if capacity.memory_bytes else 0.0
    return min(100.0, cpu), min(100.0, memory)


Percents = tuple[float, float]


def averaged(points: Mapping[int, Percents], minutes: int) -> list[tuple[int, float, float]]:
    """Points of so many minutes each, oldest first: the number of the first minute, and the means."""
    groups: dict[int, list[Percents]] = defaultdict(list)
    for number, point in points.items():
        groups[number - number % minutes].append(point)
    return [
        (first, sum(one[0] for one in group) / len(group), sum(one[1] for one in group) / len(group))
        for first, group in sorted(groups.items())
    ]
