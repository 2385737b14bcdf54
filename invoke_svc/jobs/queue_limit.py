"""How many jobs of a workspace may wait."""

from __future__ import annotations

from dataclasses import dataclass

from invoke_svc.jobs.store import JobStore
from mesh.clock import Clock
from mesh.errors import ResourceExhausted

_COUNTED_S = 1.0
_KNOWN_LIMIT = 10_000


@dataclass(slots=True)
class _Count:
    at: float
    jobs: int


class QueueLimit:
    """Counts a workspace's waiting jobs once a second at most, and adds what this process lets in meanwhile: a few
    more may wait than the limit says, as many as other processes let in within that second.
    """

    def __init__(self, store: JobStore, clock: Clock, most: int) -> None:
        self._store = store
        self._clock = clock
        self._most = most
        self._counts: dict[str, _Count] = {}

    async def let_in(self, workspace_uid: str, display_name: str) -> None:
        """Counts one more in. Raises ResourceExhausted (JOB_QUEUE_FULL)."""
        now = self._clock.monotonic()
        count = self._counts.get(workspace_uid)
        if count is None or now - count.at > _COUNTED_S:
            if len(self._counts) >= _KNOWN_LIMIT:
                self._counts.clear()
            if count is not None:
                count.at = now  # others do not count as well meanwhile
            waiting = await self._store.waiting(workspace_uid, self._most)
            count = self._counts[workspace_uid] = _Count(now, waiting)
        if count.jobs >= self._most:
            raise ResourceExhausted(
                "JOB_QUEUE_FULL",
                f"{self._most:,} jobs of workspace '{display_name}' are waiting already: try again when some of them "
                "have run, or cancel some.",
                retry_after_s=_COUNTED_S,
            )
        count.jobs += 1
