"""Where the fake cluster keeps its objects: versions, the history watches are told of, who owns what."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.resources import Resource

Json = dict[str, Any]
Key = tuple[str, str, str]  # Resource.qualified, namespace, name

_HISTORY = 20_000


@dataclass(frozen=True)
class Change:
    """`now` is None for what was removed, `before` for what was made. Neither may be altered by who reads it."""

    version: int
    resource: Resource
    before: Json | None
    now: Json | None

    @property
    def last(self) -> Json:
        """What there is now, or was last."""
        found = self.now if self.now is not None else self.before
        assert found is not None
        return found


class Storage:
    """Objects by key. Whoever reads and then writes holds `lock`; what is read must be copied before it is altered."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.version = 1
        self.compacted = 0
        self._objects: dict[str, dict[tuple[str, str], Json]] = defaultdict(dict)
        self._history: dict[str, list[Change]] = defaultdict(list)
        self._dependents: dict[str, dict[Key, Resource]] = defaultdict(dict)
        self._labelled: dict[tuple[str, str, str], set[tuple[str, str]]] = defaultdict(set)
        self._listeners: list[Callable[[Change], None]] = []

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Tells `listener` of every change from now on, with the lock held: it must be quick."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[Change], None]) -> None:
        with self.lock:
            self._listeners.remove(listener)

    def find(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self._objects[resource.qualified].get((namespace if resource.namespaced else "", name))

    def all(self, resource: Resource, namespace: str = "") -> list[Json]:
        """In the order of namespace and name; of every namespace where `namespace` is empty."""
        with self.lock:
            found = self._objects[resource.qualified]
            keys = sorted(key for key in found if not namespace or key[0] == namespace)
            return [found[key] for key in keys]

    def count(self, resource: Resource) -> int:
        return len(self._objects[resource.qualified])

    def dependents(self, uid: str) -> list[tuple[Resource, Json]]:
        """What names that owner in its ownerReferences."""
        with self.lock:
            found = [(resource, self.find(resource, key[1], key[2])) for key, resource in self._dependents[uid].items()]
            return [(resource, thing) for resource, thing in found if thing is not None]

    def labelled(self, resource: Resource, namespace: str, key: str, value: str) -> list[Json]:
        """What has that label, in no order."""
        return self._found_by(resource, namespace, (resource.qualified, key, value))

    def selecting(self, resource: Resource, namespace: str, key: str, value: str) -> list[Json]:
        """What has that pair in its `spec.selector`, in no order: for Services."""
        return self._found_by(resource, namespace, (f"{resource.qualified}/selector", key, value))

    def put(self, resource: Resource, thing: Json) -> Json:
        """Stores a copy with the next resourceVersion, which is returned."""
        with self.lock:
            self.version += 1
            stored = clone(thing)
            metadata = stored["metadata"]
            metadata["resourceVersion"] = str(self.version)
            at = (metadata.get("namespace", ""), metadata["name"])
            before = self._objects[resource.qualified].get(at)
            self._objects[resource.qualified][at] = stored
            self._reindex(resource, before, stored)
            self._tell(Change(self.version, resource, before, stored))
            return stored

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Of what is there."""
        with self.lock:
            self.version += 1
            before = self._objects[resource.qualified].pop((namespace, name))
            gone = clone(before)
            gone["metadata"]["resourceVersion"] = str(self.version)
            self._reindex(resource, before, None)
            self._tell(Change(self.version, resource, gone, None))

    def since(self, resource: Resource, version: int) -> list[Change]:
        """What happened to objects of that kind after `version`."""
        with self.lock:
            history = self._history[resource.qualified]
            return history[bisect_right(history, version, key=lambda change: change.version) :]

    def compact(self) -> None:
        """Forgets the history: a watch or a list from an older version is Expired (410)."""
        with self.lock:
            # Its own number is forgotten as well, so that what was listed a moment ago has expired. Open watches are
            # still told what happened before.
            self.version += 1
            self.compacted = self.version

    def _tell(self, change: Change) -> None:
        history = self._history[change.resource.qualified]
        history.append(change)
        if len(history) > _HISTORY:
            self.compacted = max(self.compacted, history[_HISTORY // 2].version)
            del history[: _HISTORY // 2]
        for listener in list(self._listeners):
            listener(change)

    def _reindex(self, resource: Resource, before: Json | None, now: Json | None) -> None:
        for thing, indexed in ((before, False), (now, True)):
            for uid, key in _owned(resource, thing):
                if indexed:
                    self._dependents[uid][key] = resource
                else:
                    self._dependents[uid].pop(key, None)
            for label, at in _labels(resource, thing):
                if indexed:
                    self._labelled[label].add(at)
                else:
                    self._labelled[label].discard(at)

    def _found_by(self, resource: Resource, namespace: str, label: tuple[str, str, str]) -> list[Json]:
        with self.lock:
            found = self._objects[resource.qualified]
            return [found[at] for at in self._labelled[label] if at[0] == namespace]


def _owned(resource: Resource, thing: Json | None) -> Iterator[tuple[str, Key]]:
    if thing is not None:
        metadata = thing["metadata"]
        for owner in metadata.get("ownerReferences") or []:
            yield owner["uid"], (resource.qualified, metadata.get("namespace", ""), metadata["name"])


def _labels(resource: Resource, thing: Json | None) -> Iterator[tuple[tuple[str, str, str], tuple[str, str]]]:
    if thing is not None:
        metadata = thing["metadata"]
        at = (metadata.get("namespace", ""), metadata["name"])
        for key, value in (metadata.get("labels") or {}).items():
            yield (resource.qualified, key, value), at
        if resource.kind == "Service":
            for key, value in (thing["spec"].get("selector") or {}).items():
                yield (f"{resource.qualified}/selector", key, value), at
