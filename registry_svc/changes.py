"""Wake-ups for those who wait for a change. A hint only: the version counter says what changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """Tells waiters that something was committed: those in this process, and by `tell` those in others."""

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self._next = asyncio.Event()
        self._tell = tell

    def next(self) -> asyncio.Event:
        """Is set at the next change. Take it before you look, so that nothing comes in between."""
        return self._next

    def notify(self) -> None:
        """Something was committed here."""
        self.wake()
        self._tell()

    def wake(self) -> None:
        """Something was committed, here or elsewhere."""
        done, self._next = self._next, asyncio.Event()
        done.set()
