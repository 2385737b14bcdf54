"""What goes on in a cluster by itself: each change has the controllers it concerns look again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.support.kubernetes.api import Api
from tests.support.kubernetes.deployments import Deployments
from tests.support.kubernetes.endpoint_slices import EndpointSlices
from tests.support.kubernetes.garbage import Garbage
from tests.support.kubernetes.kubelet import Kubelet
from tests.support.kubernetes.objects import Objects
from tests.support.kubernetes.replica_sets import ReplicaSets
from tests.support.kubernetes.resources import (
    DEFINITIONS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Catalog,
    Resource,
)  # fmt: skip
from tests.support.kubernetes.spin_operator import SPIN_APPS, SpinOperator
from tests.support.kubernetes.statuses import ApiError
from tests.support.kubernetes.storage import Change, Storage
from tests.support.kubernetes.times import ClusterClock

Json = dict[str, Any]
Item = tuple[str, str, str]  # which controller, namespace, name


class Controllers:
    """All of one cluster. `wake` is called, with the storage's lock held, when there is something to do.

    What the API has refused a controller is in `failures`; it tries again when something changes.
    """

    def __init__(
        self, storage: Storage, catalog: Catalog, api: Api, kubelet: Kubelet, clock: ClusterClock,
        wake: Callable[[], None],
    ) -> None:  # fmt: skip
        objects = Objects(storage, clock)
        self._storage = storage
        self._catalog = catalog
        self._kubelet = kubelet
        self._deployments = Deployments(storage, objects, clock)
        self._replica_sets = ReplicaSets(storage, api, clock)
        self._slices = EndpointSlices(storage, objects)
        self._spin = SpinOperator(storage, api, clock)
        self.garbage = Garbage(storage, catalog, api)
        self._wake = wake
        self._changes: list[Change] = []
        self._due: dict[Item, None] = {}
        self._later: dict[Item, datetime] = {}
        self._clock = clock
        self.paused = False
        self.failures: list[str] = []
        storage.listen(self._notice)

    def settle(self) -> None:
        """Until there is nothing left to do, unless `paused`."""
        with self._storage.lock:
            while not self.paused:
                for change in self._taken():
                    self._consider(change)
                if self._changes:  # by what was just considered
                    continue
                if not self._due:
                    return
                item = next(iter(self._due))
                del self._due[item]
                try:
                    self._reconcile(*item)
                except ApiError as error:
                    self.failures.append(f"{item}: {error.message}")

    def time_passed(self) -> None:
        """Looks at what has a deadline that is over."""
        with self._storage.lock:
            now = self._clock.now()
            for item, at in self._later.items():
                if at <= now:
                    self._due[item] = None
        self.settle()

    def next_deadline_s(self) -> float | None:
        """How long it is until `time_passed` has something to do; None for ever."""
        with self._storage.lock:
            first = min(self._later.values(), default=None)
        return None if first is None else max((first - self._clock.now()).total_seconds(), 0.1)

    def namespaces_released(self) -> None:
        """Lets those go that `garbage.hold_namespaces` held."""
        with self._storage.lock:
            self.garbage.hold_namespaces = False
            for thing in self._storage.all(NAMESPACES):
                self._due["namespace", "", thing["metadata"]["name"]] = None
        self.settle()

    def _notice(self, change: Change) -> None:
        self._changes.append(change)
        self._wake()

    def _taken(self) -> list[Change]:
        taken, self._changes = self._changes, []
        return taken

    def _consider(self, change: Change) -> None:
        resource, thing = change.resource, change.last
        metadata = thing["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if resource is PODS:
            self._add("pod", namespace, name)
            for service in self._slices.services_of(thing):
                self._add("slices", namespace, service)
            if change.now is None:
                self._kubelet.gone(metadata["uid"])
                # Who recreates waits for pods that count no more.
                for reference in metadata.get("ownerReferences") or []:
                    if (found := self.garbage.owner(thing, reference)) is not None:
                        self._look_at_owners(found[1])
        elif resource is SECRETS:
            self._kubelet.secret_changed(namespace)
        elif resource is SERVICE_ACCOUNTS:
            for replica_set in self._replica_sets.failed(namespace):
                self._add("replica-set", namespace, replica_set)
        elif (controller := _OWN.get(resource.qualified)) is not None:
            self._add(controller, namespace, name)
        self._look_at_owners(thing)
        if change.now is None:
            if resource is DEFINITIONS:
                self.garbage.definition_gone(thing)
            self.garbage.owner_gone(metadata["uid"])
            if self._leaves(namespace):
                self._add("namespace", "", namespace)
        elif change.before is None:
            self.garbage.orphaned_at_birth(resource, thing)
        elif "deletionTimestamp" in metadata and metadata.get("finalizers"):
            self._finish(resource, namespace, name)

    def _look_at_owners(self, thing: Json) -> None:
        for reference in thing["metadata"].get("ownerReferences") or []:
            if (found := self.garbage.owner(thing, reference)) is None:
                continue
            resource, owner = found
            namespace, name = owner["metadata"].get("namespace", ""), owner["metadata"]["name"]
            if (controller := _OWN.get(resource.qualified)) is not None:
                self._add(controller, namespace, name)
            if "deletionTimestamp" in owner["metadata"]:
                self._finish(resource, namespace, name)

    def _finish(self, resource: Resource, namespace: str, name: str) -> None:
        found = self._storage.find(resource, namespace, name)
        if found is not None:
            self.garbage.finish(resource, found)

    def _leaves(self, namespace: str) -> bool:
        found = self._storage.find(NAMESPACES, "", namespace)
        return found is not None and "deletionTimestamp" in found["metadata"]

    def _add(self, controller: str, namespace: str, name: str) -> None:
        self._due[controller, namespace, name] = None

    def _reconcile(self, controller: str, namespace: str, name: str) -> None:
        again: datetime | None = None
        match controller:
            case "pod":
                self._kubelet.step(namespace, name)
            case "replica-set":
                again = self._replica_sets.reconcile(namespace, name)
            case "deployment":
                again = self._deployments.reconcile(namespace, name)
            case "slices":
                self._slices.reconcile(namespace, name)
            case "namespace":
                self.garbage.namespace(name)
            case "spin-app":
                for resource in self._catalog.all():
                    if resource.qualified == SPIN_APPS:
                        self._spin.reconcile(resource, namespace, name)
        self._later.pop((controller, namespace, name), None)
        if again is not None:
            self._later[controller, namespace, name] = again


_OWN = {
    DEPLOYMENTS.qualified: "deployment", REPLICA_SETS.qualified: "replica-set", SERVICES.qualified: "slices",
    NAMESPACES.qualified: "namespace", SPIN_APPS: "spin-app",
}  # fmt: skip
