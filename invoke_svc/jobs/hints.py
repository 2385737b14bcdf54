"""Wake-ups within this process: hints only, everything they hint at is in the database."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class JobHints:
    """Says that there is work, that a job changed, or that one shall stop."""

    def __init__(self) -> None:
        self.work = asyncio.Event()
        self.cancels = asyncio.Event()
        self._listening: dict[str, set[asyncio.Event]] = defaultdict(set)

    def changed(self, uid: str) -> None:
        """Wakes everybody who watches the job."""
        for event in self._listening.get(uid, ()):
            event.set()

    @contextmanager
    def listening(self, uid: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job changes here; the listener clears it."""
        event = asyncio.Event()
        self._listening[uid].add(event)
        try:
            yield event
        finally:
            self._listening[uid].discard(event)
            if not self._listening[uid]:
                del self._listening[uid]
