"""Who watches the endpoints, and which draining instances each of them has let go of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from mesh.clock import Clock


@dataclass(slots=True)
class _Watcher:
    connections: int = 0
    left_at: float = 0.0
    applied_version: int = 0
    released: set[str] = field(default_factory=set)


class Watchers:
    """Remembers a watcher while it is connected, and for `grace_s` after: it may only have lost its connection,
    and still send requests to the instances it knows.

    The same grace runs from the time when this process began to lead: watchers of its predecessor come back within it.
    """

    def __init__(self, clock: Clock, grace_s: float) -> None:
        self._clock = clock
        self._grace_s = grace_s
        self._watchers: dict[str, _Watcher] = {}
        self._alone_since = clock.monotonic()
        self._all_since = -inf

    def expected(self, *, several: bool) -> None:
        """This process begins to lead. Where there may be several watchers, the first to come back is not all of them:
        no instance counts as released before the grace is over.
        """
        self._alone_since = self._clock.monotonic()
        self._all_since = self._alone_since + self._grace_s if several else -inf

    def joined(self, watcher: str) -> None:
        """A watcher has connected."""
        self._watchers.setdefault(watcher, _Watcher()).connections += 1

    def left(self, watcher: str) -> None:
        """A watcher has disconnected."""
        known = self._watchers.get(watcher)
        if known is not None:
            known.connections -= 1
            known.left_at = self._alone_since = self._clock.monotonic()

    def acknowledged(self, watcher: str, applied_version: int, released: Iterable[str]) -> None:
        """A watcher has applied changes, and let go of instances."""
        known = self._watchers.get(watcher)
        if known is not None:
            known.applied_version = max(known.applied_version, applied_version)
            known.released.update(released)

    def have_released(self, instance: str) -> bool:
        """Whether nobody sends requests to a draining instance any more."""
        now = self._clock.monotonic()
        for name in [n for n, w in self._watchers.items() if not w.connections and now - w.left_at >= self._grace_s]:
            del self._watchers[name]
        if not self._watchers:
            return now - self._alone_since >= self._grace_s
        return now >= self._all_since and all(instance in watcher.released for watcher in self._watchers.values())

    def wait_s(self) -> float | None:
        """After how long the answer may change by itself: when a grace runs out; None where none runs."""
        now = self._clock.monotonic()
        ends = [w.left_at + self._grace_s for w in self._watchers.values() if not w.connections]
        if not self._watchers:
            ends.append(self._alone_since + self._grace_s)
        ends.append(self._all_since)
        left = [end - now for end in ends if end > now]
        return min(left, default=None)

    def forget(self, instance: str) -> None:
        """The instance has ended."""
        for watcher in self._watchers.values():
            watcher.released.discard(instance)
