"""Wake-ups, here and in other processes of the service: hints only, everything they hint at is in the database."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Hints:
    """Says that something about a build changed, that there is work, or something to sweep.

    `tell` tells other processes what became of a build: "changed" or "cancel", and its identifier.
    """

    def __init__(self, tell: Callable[[str, str], None] = lambda topic, build_uid: None) -> None:
        self._tell = tell
        self.work = asyncio.Event()
        self.reports = asyncio.Event()
        self.sweep = asyncio.Event()
        self.cancelling: set[str] = set()
        self._listening: dict[str, set[asyncio.Event]] = defaultdict(set)

    def changed(self, build_uid: str) -> None:
        """Wake everybody who listens to the build."""
        self.wake(build_uid)
        self._tell("changed", build_uid)

    def cancel(self, build_uid: str) -> None:
        """Somebody wants the build cancelled; known for as long as somebody listens to it."""
        self.wake_to_cancel(build_uid)
        self._tell("cancel", build_uid)

    def wake(self, build_uid: str) -> None:
        """The build has changed, here or elsewhere."""
        for event in self._listening.get(build_uid, ()):
            event.set()

    def wake_to_cancel(self, build_uid: str) -> None:
        """Somebody wants the build cancelled, here or elsewhere."""
        if build_uid in self._listening:
            self.cancelling.add(build_uid)
            self.wake(build_uid)

    @contextmanager
    def listening(self, build_uid: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the build changes; the listener clears it."""
        event = asyncio.Event()
        self._listening[build_uid].add(event)
        try:
            yield event
        finally:
            self._listening[build_uid].discard(event)
            if not self._listening[build_uid]:
                del self._listening[build_uid]
                self.cancelling.discard(build_uid)
