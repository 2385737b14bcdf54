"""Wake-ups. They are hints: who is woken looks into the tables."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Wakes:
    """Wakes everybody who waits for changes of a kind of thing: in this process, and by `tell` in others."""

    def __init__(self) -> None:
        self._events: set[asyncio.Event] = set()
        self.tell: Callable[[], None] = lambda: None

    def notify(self) -> None:
        """Something was changed here."""
        self.wake()
        self.tell()

    def wake(self) -> None:
        """Something has changed, here or elsewhere."""
        for event in self._events:
            event.set()

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that is set by changes from now on; whoever waits clears it before looking."""
        event = asyncio.Event()
        self._events.add(event)
        try:
            yield event
        finally:
            self._events.discard(event)


class WorkQueue:
    """Keys to look at, each once however often it was added, and never by two workers at a time."""

    def __init__(self) -> None:
        self._due: dict[str, None] = {}
        self._taken: set[str] = set()
        self._again: set[str] = set()
        self._later: list[tuple[float, str]] = []
        self._wake = asyncio.Event()

    def add(self, key: str) -> None:
        """Look at the key as soon as possible."""
        if key in self._taken:
            self._again.add(key)
        else:
            self._due[key] = None
            self._wake.set()

    def add_later(self, key: str, delay_s: float) -> None:
        """Look at the key after a while."""
        heapq.heappush(self._later, (asyncio.get_running_loop().time() + max(0.0, delay_s), key))
        self._wake.set()

    async def take(self) -> str:
        """The next key; give it back with `done`."""
        while True:
            now = asyncio.get_running_loop().time()
            while self._later and self._later[0][0] <= now:
                self.add(heapq.heappop(self._later)[1])
            if self._due:
                key = next(iter(self._due))
                del self._due[key]
                self._taken.add(key)
                return key
            self._wake.clear()
            try:
                async with asyncio.timeout(self._later[0][0] - now if self._later else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, key: str) -> None:
        """The key was looked at; it comes again if it was added meanwhile."""
        self._taken.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
