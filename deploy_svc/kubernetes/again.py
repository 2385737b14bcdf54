"""When functions on clusters are looked at again: after a while, after a failure, and when a cluster answers again."""

from __future__ import annotations

from deploy_svc.kubernetes.errors import wait_s
from deploy_svc.wakes import WorkQueue
from mesh.clock import Clock
from mesh.loops import Backoff

_BACKOFF = Backoff(first_s=0.5, limit_s=30.0)


class Again:
    """Puts them into the queue."""

    def __init__(self, queue: WorkQueue, clock: Clock) -> None:
        self._queue, self._clock = queue, clock
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def later(self, uid: str, delay_s: float) -> None:
        """Look again after a while, unless that is done earlier anyway: events must not add up to many clocks."""
        now = self._clock.monotonic()
        if not now < self._due.get(uid, 0.0) <= now + delay_s:
            self._due[uid] = now + delay_s
            self._queue.add_later(uid, delay_s)

    def failed(self, uid: str, error: Exception) -> None:
        """It could not be brought about: try again, later each time."""
        self._failures[uid] = self._failures.get(uid, 0) + 1
        self.later(uid, wait_s(_BACKOFF, self._failures[uid], error))

    def succeeded(self, uid: str) -> None:
        """Nothing is left to be tried again."""
        self._failures.pop(uid, None)

    def look_at_failed(self) -> None:
        """A cluster answers again."""
        for uid in self._failures:
            self._queue.add(uid)

    def forget(self, uid: str) -> None:
        """The function is gone."""
        self._failures.pop(uid, None)
        self._due.pop(uid, None)
