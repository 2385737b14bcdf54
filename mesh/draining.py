"""What a server does between "no more calls, please" and its end, so that no call is lost on its way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

_ROUNDS = 5
_ROUND_S = 0.02
_PATIENCE_S = 1.0


@dataclass
class Draining:
    """Whether the server is about to stop. Long streams (`Watch...`) are ended by it with UNAVAILABLE."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    calls: int = 0
    """How many have come so far."""

    async def quiet(self, *, callers_stay: bool) -> None:
        """Returns once no call has come for a while, or when patience is over. `callers_stay` says that somebody is
        known who has to hear first that calls go elsewhere.

        gRPC cancels calls that have reached the process when it stops but not their handler yet; their callers would
        be told CANCELLED. That time has passed says nothing on a busy machine, so it is rounds of the loop.
        """
        loop = asyncio.get_running_loop()
        ends, wanted = loop.time() + _PATIENCE_S, _ROUNDS if callers_stay else 1
        left = wanted
        while left and loop.time() < ends:
            before = self.calls
            await asyncio.sleep(_ROUND_S)
            left = left - 1 if self.calls == before else wanted

    def begin(self) -> None:
        """Ends all long streams."""
        self.event.set()
        for task in list(self.tasks):
            task.cancel()
