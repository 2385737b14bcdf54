"""Wake-ups for other processes of the same service: PostgreSQL's LISTEN and NOTIFY.

Hints only, as all wake-ups are: whoever is woken looks into the tables, and looks now and then without being woken.
What is told while PostgreSQL is away is not told later. Where there are no others nothing is told: with SQLite, and
where the service has one address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.db import Database, DatabaseUnavailable
from mesh.ids import new_id
from mesh.logs import get_logger
from mesh.loops import Backoff

log = get_logger(__name__)
GATHER_S = 0.02
"""What is told within this time goes out as one: a NOTIFY costs PostgreSQL a lock of the whole server."""
_PAYLOAD_CHARS = 7000  # it takes 8000 bytes
_BACKOFF = Backoff(first_s=0.2, limit_s=5.0)


class Fanout:
    """Tells others, if there are any, and hears them. `run()` it; topics are words, what they are about has no white
    space.
    """

    def __init__(self, database: Database, *, others: bool = True) -> None:
        self._database = database
        self._others = others and not database.is_sqlite
        self._channel = f"fnmesh_{database.schema}"
        self._own = new_id("p-")
        self._handlers: dict[str, Callable[[str], None]] = {}
        self._waiting: dict[str, None] = {}
        self._any = asyncio.Event()

    def on(self, topic: str, heard: Callable[[str], None]) -> None:
        """Has `heard` called with what others say of the topic."""
        self._handlers[topic] = heard

    def tell(self, topic: str, about: str = "") -> None:
        """Says something to the others, soon. Never waits."""
        if self._others:
            self._waiting[f"{topic}:{about}"] = None
            self._any.set()

    async def run(self) -> None:
        """Tell and hear until cancelled."""
        failures = 0
        while self._others:
            try:
                async with self._database.session("fanout") as session:
                    session.on_end(self._any.set)
                    await session.listen(self._channel, self._heard)
                    while not session.is_closed:
                        failures = 0
                        await self._any.wait()
                        await asyncio.sleep(GATHER_S)
                        self._any.clear()
                        for payload in self._payloads():
                            await session.value("SELECT pg_notify($1, $2)", self._channel, payload)
            except DatabaseUnavailable:
                log.debug("fanout_away")
            failures += 1
            await asyncio.sleep(_BACKOFF.delay_s(failures))

    def _payloads(self) -> list[str]:
        waiting, self._waiting = self._waiting, {}
        payloads, payload = [], self._own
        for one in waiting:
            if len(payload) + len(one) >= _PAYLOAD_CHARS:
                payloads.append(payload)
                payload = self._own
            payload += f" {one}"
        return [*payloads, payload] if waiting else []

    def _heard(self, payload: str) -> None:
        sender, *said = payload.split(" ")
        if sender == self._own:
            return
        for one in said:
            topic, _, about = one.partition(":")
            handler = self._handlers.get(topic)
            if handler is not None:
                handler(about)
