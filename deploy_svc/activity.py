"""When functions were last asked for, as those who send requests tell: what scales to zero goes by it."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from mesh.clock import Clock


class Activity:
    """The last use of functions, in this process only.

    What a predecessor knew is lost: a function that runs counts as used when this process first looks at it, one
    that is scaled to zero stays so.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._used_at: dict[str, float] = {}

    def used(self, uids: Iterable[str]) -> None:
        """They have been asked for, just now."""
        self._used_at.update(dict.fromkeys(uids, self._clock.monotonic()))

    def unused_s(self, uid: str, *, rests: bool) -> float:
        """For how long a function was not asked for; without end for one that rests and was not."""
        if uid not in self._used_at:
            if rests:
                return inf
            self.used([uid])
        return self._clock.monotonic() - self._used_at[uid]

    def forget(self, uid: str) -> None:
        """Drop what is known of a function that is deleted: after that it is one that was never asked for."""
        self._used_at.pop(uid, None)
