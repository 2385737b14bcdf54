"""Wake-ups for those who wait for a change. A hint only: the version counter says what changed."""

from __future__ import annotations

import asyncio


class Changes:
    """Tells waiters in this process that something was committed."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Is set at the next change. Take it before you look, so that nothing comes in between."""
        return self._next

    def notify(self) -> None:
        """Something was committed."""
        done, self._next = self._next, asyncio.Event()
        done.set()
