"""Watches: what changes from a version on, bookmarks, and how a watch ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from tests.support.kubernetes import listing, statuses
from tests.support.kubernetes.resources import Resource
from tests.support.kubernetes.statuses import ApiError
from tests.support.kubernetes.storage import Change, Storage

Json = dict[str, Any]

_LONGEST_S = 3600.0


class WatchDropped(Exception):
    """The connection is to end in the middle."""


class Watches:
    """Those that are open, so that a test may break them. `bookmark_every_s` is how often they are told the version."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._open: set[Watch] = set()
        self.bookmark_every_s = 10.0
        storage.listen(self._notice)

    @property
    def count(self) -> int:
        """How many are open now."""
        return len(self._open)

    def count_of(self, plural: str) -> int:
        """How many are open now on one kind."""
        return sum(1 for watch in list(self._open) if watch.resource.plural == plural)

    def add(self, watch: Watch) -> None:
        self._open.add(watch)

    def discard(self, watch: Watch) -> None:
        self._open.discard(watch)

    def drop(self, plural: str = "") -> None:
        """Ends them (of one kind, or all) in mid-stream, as a broken connection does."""
        self._end(plural, WatchDropped())

    def expire(self, plural: str = "") -> None:
        """Ends them with an ERROR event of 410, and has the history forgotten."""
        self._storage.compact()
        self._end(plural, _too_old(0, self._storage.compacted))

    def bookmark(self) -> None:
        """Sends one to each that allows it."""
        for watch in list(self._open):
            watch.bookmark_due = True
            watch.wake()

    def _end(self, plural: str, why: Exception) -> None:
        for watch in list(self._open):
            if plural in ("", watch.resource.plural):
                watch.ending = why
                watch.wake()

    def _notice(self, change: Change) -> None:
        for watch in list(self._open):
            if watch.resource.qualified == change.resource.qualified:
                watch.wake()


class Watch:
    """One open watch, on the loop it is made on. Raises ApiError 400 for a bad query."""

    def __init__(
        self, watches: Watches, storage: Storage, resource: Resource, namespace: str, query: Mapping[str, str]
    ) -> None:
        self.resource = resource
        self.ending: Exception | None = None
        self.bookmark_due = False
        self._watches = watches
        self._storage = storage
        self._namespace = namespace
        self._query = query
        self._matches: Callable[[Json], bool] = listing.chosen(resource, query)
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        asked = query.get("timeoutSeconds", "")
        self._until = time.monotonic() + (float(asked) if asked.isdigit() and asked != "0" else _LONGEST_S)

    def wake(self) -> None:
        """From any thread: has it look again."""
        self._loop.call_soon_threadsafe(self._woken.set)

    async def events(self) -> AsyncGenerator[Json, None]:
        """Until the time the client gave is over. Raises WatchDropped."""
        self._watches.add(self)
        try:
            try:
                with self._storage.lock:
                    first, at = self._from()
                for event in first:
                    yield event
                async for event in self._following(at):
                    yield event
            except ApiError as error:
                yield {"type": "ERROR", "object": error.status}
        finally:
            self._watches.discard(self)

    def _from(self) -> tuple[list[Json], int]:
        asked = self._query.get("resourceVersion", "")
        if asked in ("", "0") or self._query.get("sendInitialEvents") == "true":
            found = [thing for thing in self._storage.all(self.resource, self._namespace) if self._matches(thing)]
            first = [{"type": "ADDED", "object": thing} for thing in found]
            if self._query.get("sendInitialEvents") == "true":
                first.append(self._bookmark(self._storage.version, {"k8s.io/initial-events-end": "true"}))
            return first, self._storage.version
        if not asked.isdigit():
            raise statuses.bad_request(
                f'Invalid value: "{asked}": strconv.ParseUint: parsing "{asked}": invalid syntax'
            )
        if int(asked) < self._storage.compacted:
            raise _too_old(int(asked), self._storage.compacted)
        return [], int(asked)

    async def _following(self, at: int) -> AsyncGenerator[Json, None]:
        next_bookmark = time.monotonic() + self._watches.bookmark_every_s
        while True:
            self._woken.clear()
            if self.ending is not None:
                raise self.ending
            with self._storage.lock:
                changes = self._storage.since(self.resource, at)
                at = max(at, self._storage.version)
            for change in changes:
                if (event := self._event(change)) is not None:
                    yield event
            now = time.monotonic()
            over = now >= self._until
            if self._bookmarks() and (over or self.bookmark_due or now >= next_bookmark):
                self.bookmark_due = False
                next_bookmark = now + self._watches.bookmark_every_s
                yield self._bookmark(at, {})
            if over:
                return
            try:
                await asyncio.wait_for(self._woken.wait(), max(min(next_bookmark, self._until) - now, 0.001))
            except TimeoutError:
                continue

    def _bookmarks(self) -> bool:
        return self._query.get("allowWatchBookmarks") in ("true", "1")

    def _event(self, change: Change) -> Json | None:
        if self._namespace and change.last["metadata"].get("namespace") != self._namespace:
            return None
        was = change.before is not None and self._matches(change.before)
        if change.now is not None and self._matches(change.now):
            return {"type": "MODIFIED" if was else "ADDED", "object": change.now}
        if not was:
            return None
        assert change.before is not None
        metadata = {**change.before["metadata"], "resourceVersion": str(change.version)}
        return {"type": "DELETED", "object": {**change.before, "metadata": metadata}}

    def _bookmark(self, version: int, annotations: dict[str, str]) -> Json:
        metadata: Json = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        bare = {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": bare}


def _too_old(asked: int, oldest: int) -> ApiError:
    return statuses.expired(f"too old resource version: {asked} ({oldest})")
