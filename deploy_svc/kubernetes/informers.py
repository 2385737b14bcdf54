"""Knows the objects of a kind on a cluster: one list, then one watch, however many objects there are."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from deploy_svc.kubernetes.cluster import OPENED, Cluster
from deploy_svc.kubernetes.errors import EXPIRED, wait_s
from deploy_svc.kubernetes.kinds import Kind
from deploy_svc.kubernetes.views import Key
from mesh.errors import MeshError, Unavailable
from mesh.logs import get_logger
from mesh.loops import Backoff, wait_for_wake

log = get_logger(__name__)
_BACKOFF = Backoff(first_s=0.2, limit_s=10.0)
_WATCH_S = (100, 140)  # a connection that has died without a word is noticed so much later
_MISSING_S = 30.0
_LASTED_S = 1.0  # a stream that ended earlier was cut off


class Item(Protocol):
    """What is kept of an object."""

    @property
    def key(self) -> Key:
        """Namespace and name."""
        ...

    @property
    def version(self) -> int:
        """Its resource version."""
        ...


T = TypeVar("T", bound=Item)


class Stale(Exception):
    """The version to watch from is too old: everything must be listed again."""


class Informer(Generic[T]):
    """All objects of a kind with some labels. `changed` is called with each one as it was and as it is (None: it is not
    there), `works_again` when the cluster answers that did not.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        selector: str,
        view: Callable[[Mapping[str, Any]], T],
        changed: Callable[[T | None, T | None], None],
        works_again: Callable[[], None],
    ) -> None:
        self._cluster, self._kind, self._selector = cluster, kind, selector
        self._view, self._changed, self._works_again = view, changed, works_again
        self._items: dict[Key, T] = {}
        self._version = ""
        self._again = asyncio.Event()
        self.synced = asyncio.Event()
        self.tried = asyncio.Event()
        self.error: MeshError | None = None

    def all(self) -> Iterable[T]:
        """All of them."""
        return self._items.values()

    def get(self, key: Key) -> T | None:
        """One of them."""
        return self._items.get(key)

    def put(self, found: Mapping[str, Any]) -> None:
        """An object as it was just written: what the watch tells of it later is no news."""
        self._keep(self._view(found))

    def look(self) -> None:
        """Do not wait before the next try: there may be such objects now."""
        self._again.set()

    async def run(self) -> None:
        """Follow until cancelled; whatever the cluster does, this goes on."""
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            began, error = loop.time(), None
            try:
                await self._once()
                if loop.time() - began >= _LASTED_S:
                    failures = 0
                    continue
                failures += 1
            except Stale:
                self._version = ""
                failures += 1
            except MeshError as told:
                if told.reason == "SPINKUBE_NOT_INSTALLED":  # then there are none
                    self._version = ""
                    self._replace({})
                    await wait_for_wake(self._again, _MISSING_S)
                    continue
                failures, self.error, error = failures + 1, told, told
            except Exception as unexpected:
                failures += 1
                log.exception("cluster_watch_failed", unexpected, kind=self._kind.name, context=self._cluster.context)
            self.tried.set()
            if failures == 3 and self.error is not None:
                about = {"kind": self._kind.name, "context": self._cluster.context, "reason": self.error.reason}
                log.warning("cluster_not_watched", **about)
            await wait_for_wake(self._again, wait_s(_BACKOFF, failures, error))

    async def _once(self) -> None:
        """List where nothing is known, then watch until the stream ends. Raises Stale."""
        try:
            await self._list_and_watch()
        except Unavailable as error:
            if error.reason == EXPIRED:
                raise Stale from error
            raise

    async def _list_and_watch(self) -> None:
        if not self._version:
            items: dict[Key, T] = {}
            version = ""
            async with contextlib.aclosing(self._cluster.list(self._kind, self._selector)) as pages:
                async for found, version in pages:  # noqa: B007 -- the last one's counts
                    items |= {one.key: one for one in map(self._view, found)}
            self._replace(items)
            self._version = version
        seconds = random.randint(*_WATCH_S)  # noqa: S311 -- spreads reconnects, guards nothing
        stream = self._cluster.watch(self._kind, self._selector, self._version, seconds)
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                self._recovered()
                if event is not OPENED:
                    self._take(event)

    def _recovered(self) -> None:
        was_broken, self.error = self.error is not None, None
        if was_broken:
            self._works_again()

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, found = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise Stale
        self._version = str((found.get("metadata") or {}).get("resourceVersion") or self._version)
        if kind == "BOOKMARK":
            return
        item = self._view(found)
        if kind == "DELETED":
            known = self._items.get(item.key)
            if known is not None and known.version <= item.version:
                del self._items[item.key]
                self._changed(known, None)
        else:
            self._keep(item)

    def _keep(self, item: T) -> None:
        known = self._items.get(item.key)
        if known is None or known.version < item.version:
            self._items[item.key] = item
            self._changed(known, item)

    def _replace(self, items: dict[Key, T]) -> None:
        before, self._items = self._items, items
        self._recovered()
        self.synced.set()
        self.tried.set()
        for key in before.keys() | items.keys():
            if before.get(key) != items.get(key):
                self._changed(before.get(key), items.get(key))
