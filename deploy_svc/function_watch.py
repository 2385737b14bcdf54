"""Takes over what the registry wants: lists, then watches, from the version that was taken over last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from deploy_svc.convert import to_desired
from deploy_svc.store import Store
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as pb
from mesh.clock import Clock
from mesh.errors import MeshError, Unavailable
from mesh.logs import get_logger
from mesh.loops import Backoff

log = get_logger(__name__)
CURSOR = "registry"
_BACKOFF = Backoff(first_s=0.1, limit_s=2.0)


class FunctionSource(Protocol):
    """Where changes of functions come from."""

    def watch(self, after_version: int) -> AsyncIterator[pb.WatchFunctionsResponse]:
        """Changes after a version, until the stream ends."""
        ...


class FunctionWatch:
    """Writes what comes to the tables and has the function looked at."""

    def __init__(self, source: FunctionSource, store: Store, clock: Clock, requeue: Callable[[str], None]) -> None:
        self._source, self._store, self._clock = source, store, clock
        self._requeue = requeue

    async def run(self) -> None:
        """Watch until cancelled, again whenever the stream ends."""
        failures = 0
        while True:
            try:
                await self.once()
                failures = 0
            except MeshError as error:
                failures = 0 if isinstance(error, Unavailable) else failures + 1
                log.debug("registry_watch_ended", reason=error.reason)
            except Exception as error:
                failures += 1
                log.exception("registry_watch_failed", error)
            await asyncio.sleep(_BACKOFF.delay_s(max(1, failures)))

    async def once(self) -> None:
        """Watch until the stream ends. Raises what the source raises."""
        version = await self._store.cursor(CURSOR)
        seen: set[str] | None = None  # functions sent since a reset, until the whole state has been
        async for message in self._source.watch(version):
            kind = message.WhichOneof("message")
            if kind == "reset":
                seen = set()
            elif kind == "function":
                desired = to_desired(message.function)
                force = seen is not None
                await self._store.apply(desired, self._clock.now(), force=force)
                self._requeue(desired.uid)  # also what is known: another process may have written it
                if seen is not None:
                    seen.add(desired.uid)
            elif kind == "bookmark":
                if seen is not None:
                    await self._forget_others(seen)
                    seen = None
                await self._store.set_cursor(CURSOR, message.bookmark.version)

    async def _forget_others(self, seen: set[str]) -> None:
        await self._store.keep_only(seen)
        for uid in await self._store.function_uids():
            if uid not in seen:
                self._requeue(uid)
