"""What a server does between "no more calls, please" and its end, so that no call is lost on its way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

QUIET_ROUNDS = 5
_ROUND_S = 0.02
_PATIENCE_S = 1.0


@dataclass
class Draining:
    """Whether the server is about to stop. Long streams (`Watch...`) are ended by it with UNAVAILABLE."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    calls: int = 0
    """How many have come so far."""

    async def quiet(self) -> None:
        """Returns once no call has come for a while, or when patience is over.

        gRPC cancels those that have reached the process when it stops but not their handler yet; their callers would
        be told CANCELLED. That no time passed on a busy machine says nothing, so these are rounds of the loop.
        """
        loop = asyncio.get_running_loop()
        ends, rounds = loop.time() + _PATIENCE_S, 0
        while rounds < QUIET_ROUNDS and loop.time() < ends:
            before = self.calls
            await asyncio.sleep(_ROUND_S)
            rounds = rounds + 1 if self.calls == before else 0

    def begin(self) -> None:
        """Ends all long streams."""
        self.event.set()
        for task in list(self.tasks):
            task.cancel()
