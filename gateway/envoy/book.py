"""The resources that Envoy should have, and who has which: no gRPC, no Envoy types."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.envoy.resources import Resource

Key = tuple[str, str]


@dataclass(eq=False)
class Subscriber:
    """One Envoy stream: what it wants, what it was sent, what it has acknowledged."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    wildcards: set[str] = field(default_factory=set)
    wanted: set[Key] = field(default_factory=set)
    known: dict[Key, str] = field(default_factory=dict)
    acknowledged: dict[Key, str] = field(default_factory=dict)

    def wants(self, key: Key) -> bool:
        """Whether it has asked for that resource, by name or with all of its type."""
        return key in self.wanted or key[0] in self.wildcards


@dataclass(frozen=True)
class Change:
    """What to send for one type: resources it lacks, and names it has that are no longer."""

    type_url: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]


class Book:
    """All resources, and the streams that follow them. For one event loop."""

    def __init__(self) -> None:
        self._resources: dict[Key, Resource] = {}
        self._subscribers: set[Subscriber] = set()
        self._acknowledged = asyncio.Condition()
        self._open = asyncio.Event()

    def release(self) -> None:
        """Ends the hold: nothing is sent before, so that a fresh gateway does not empty a running Envoy."""
        self._open.set()
        self._wake_all()

    async def until_released(self) -> None:
        """Returns once the hold is over."""
        await self._open.wait()

    @property
    def released(self) -> bool:
        """Whether `release` was called."""
        return self._open.is_set()

    def put(self, *resources: Resource) -> None:
        """Adds or replaces resources; streams hear of those whose bytes differ."""
        for resource in resources:
            self._resources[resource.type_url, resource.name] = resource
        self._wake_all()

    def attach(self, subscriber: Subscriber) -> None:
        """A stream begins."""
        self._subscribers.add(subscriber)

    async def detach(self, subscriber: Subscriber) -> None:
        """A stream has ended."""
        self._subscribers.discard(subscriber)
        async with self._acknowledged:
            self._acknowledged.notify_all()

    def changes(self, subscriber: Subscriber, order: Iterable[str]) -> list[Change]:
        """What a stream has to be sent now, types in the given order; it counts as sent from here on."""
        if not self.released:
            return []
        found = []
        for type_url in order:
            fresh = tuple(
                resource
                for key, resource in self._resources.items()
                if key[0] == type_url and subscriber.wants(key) and subscriber.known.get(key) != resource.version
            )
            removed = tuple(key[1] for key in subscriber.known if key[0] == type_url and key not in self._resources)
            for resource in fresh:
                subscriber.known[type_url, resource.name] = resource.version
            for name in removed:
                del subscriber.known[type_url, name]
            if fresh or removed:
                found.append(Change(type_url, fresh, removed))
        return found

    async def acknowledge(self, subscriber: Subscriber, versions: Mapping[Key, str]) -> None:
        """A stream says that it has applied these versions."""
        subscriber.acknowledged.update(versions)
        async with self._acknowledged:
            self._acknowledged.notify_all()

    async def applied(self, resource: Resource) -> None:
        """Returns once every Envoy there is has applied that version of the resource or a later one.

        Where none is connected and none comes within a second, nothing is sending requests: that is applied, too.
        """
        await self._open.wait()
        key = (resource.type_url, resource.name)

        def done() -> bool:
            current = self._resources.get(key)
            good = {resource.version, current.version if current else resource.version}
            return all(one.acknowledged.get(key) in good for one in self._subscribers)

        async with self._acknowledged:
            if not self._subscribers:
                try:
                    async with asyncio.timeout(1):
                        await self._acknowledged.wait_for(lambda: bool(self._subscribers))
                except TimeoutError:
                    return
            await self._acknowledged.wait_for(done)

    def _wake_all(self) -> None:
        for subscriber in self._subscribers:
            subscriber.wake.set()
