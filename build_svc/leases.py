"""Which leases are over, by this process's own monotonic time.

A lease that is compared with the time of day is lost when that jumps forward, and two workers have one build; it is
never lost when that jumps back. So nobody compares: whoever wants a lease watches it, and takes it when its holder
has not renewed it for as long as it lasts. Machines whose clocks differ may share a database.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mesh.clock import Clock


@dataclass(frozen=True)
class Lease:
    """A lease as stored. `until` is only told apart from the one before it."""

    build_uid: str
    owner: str
    until: datetime | None


class LeaseLost(Exception):
    """Somebody else has the build now, or it has ended: whoever gets this stops working on it."""


class LeaseWatch:
    """Remembers since when each lease has been as it is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[Lease, float] = {}

    def note(self, lease: Lease) -> None:
        """The lease was made just now."""
        self._since[lease] = self._clock.monotonic()

    def over(self, held: Iterable[Lease], lease_s: float) -> list[Lease]:
        """Those of all held leases that have been the same for `lease_s`."""
        now = self._clock.monotonic()
        self._since = {lease: self._since.get(lease, now) for lease in held}
        return [lease for lease, since in self._since.items() if now - since >= lease_s]
