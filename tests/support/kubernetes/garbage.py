"""The garbage collector, and the end of namespaces: what is owned by what is gone goes too."""

from __future__ import annotations

from typing import Any

from tests.support.kubernetes.api import Api, Target
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.deleting import DeleteOptions
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.resources import NAMESPACES, SERVICE_ACCOUNTS, Catalog, Resource, of_definition
from tests.support.kubernetes.storage import Storage

Json = dict[str, Any]

_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"


class Garbage:
    """The caller holds the storage's lock. While `hold_namespaces`, a namespace that is deleted stays Terminating."""

    def __init__(self, storage: Storage, catalog: Catalog, api: Api) -> None:
        self._storage = storage
        self._catalog = catalog
        self._api = api
        self.hold_namespaces = False

    def owner_gone(self, uid: str) -> None:
        """Deletes what has no other owner, and takes the owner out of the rest."""
        for resource, thing in self._storage.dependents(uid):
            others = [one for one in thing["metadata"]["ownerReferences"] if one["uid"] != uid]
            if others:
                self._put_owners(resource, thing, others)
            else:
                self._delete(resource, thing)

    def orphaned_at_birth(self, resource: Resource, thing: Json) -> None:
        """Deletes something new that names only owners that are not there."""
        references = thing["metadata"].get("ownerReferences") or []
        if references and not any(self.owner(thing, reference) for reference in references):
            self._delete(resource, thing)

    def owner(self, thing: Json, reference: Json) -> tuple[Resource, Json] | None:
        """What `thing` names as its owner, if it is there."""
        try:
            resource = self._catalog.kind(reference["apiVersion"], reference["kind"])
        except LookupError:
            return None
        found = self._storage.find(resource, thing["metadata"].get("namespace", ""), reference["name"])
        return (resource, found) if found is not None and found["metadata"]["uid"] == reference["uid"] else None

    def finish(self, resource: Resource, thing: Json) -> None:
        """Does what the finalizers of something that goes ask of the garbage collector."""
        finalizers = thing["metadata"].get("finalizers") or []
        uid = thing["metadata"]["uid"]
        if _ORPHAN in finalizers:
            for kind, dependent in self._storage.dependents(uid):
                others = [one for one in dependent["metadata"]["ownerReferences"] if one["uid"] != uid]
                self._put_owners(kind, dependent, others)
            self._drop_finalizer(resource, thing, _ORPHAN)
        elif _FOREGROUND in finalizers:
            dependents = self._storage.dependents(uid)
            for kind, dependent in dependents:
                if "deletionTimestamp" not in dependent["metadata"]:
                    self._api.delete(_target(kind, dependent), DeleteOptions(propagation="Foreground"))
            if not self._storage.dependents(uid):
                self._drop_finalizer(resource, thing, _FOREGROUND)

    def namespace(self, name: str) -> None:
        """Gives a new one its service account; empties one that goes, and removes it."""
        found = self._storage.find(NAMESPACES, "", name)
        if found is None:
            return
        if "deletionTimestamp" not in found["metadata"]:
            if self._storage.find(SERVICE_ACCOUNTS, name, "default") is None:
                options = Options(manager="kube-controller-manager")
                self._api.create(Target(SERVICE_ACCOUNTS, name), {"metadata": {"name": "default"}}, options)
            return
        if self.hold_namespaces:
            return
        left = 0
        for resource in self._catalog.all():
            if resource.namespaced:
                for thing in self._storage.all(resource, name):
                    self._delete(resource, thing)
                left += len(self._storage.all(resource, name))
        if not left:
            self._storage.remove(NAMESPACES, "", name)

    def definition_gone(self, definition: Json) -> None:
        """Removes what was of a kind that nobody serves any more."""
        for resource in of_definition(definition):
            for thing in self._storage.all(resource):
                self._storage.remove(resource, thing["metadata"].get("namespace", ""), thing["metadata"]["name"])

    def _put_owners(self, resource: Resource, thing: Json, owners: list[Json]) -> None:
        now = clone(thing)
        now["metadata"]["ownerReferences"] = owners
        self._storage.put(resource, now)

    def _drop_finalizer(self, resource: Resource, thing: Json, finalizer: str) -> None:
        metadata = thing["metadata"]
        left = [one for one in metadata["finalizers"] if one != finalizer]
        if left or metadata.get("deletionGracePeriodSeconds"):
            now = clone(thing)
            now["metadata"]["finalizers"] = left
            self._storage.put(resource, now)
        else:
            self._storage.remove(resource, metadata.get("namespace", ""), metadata["name"])

    def _delete(self, resource: Resource, thing: Json) -> None:
        if "deletionTimestamp" not in thing["metadata"]:
            self._api.delete(_target(resource, thing), DeleteOptions())


def _target(resource: Resource, thing: Json) -> Target:
    return Target(resource, thing["metadata"].get("namespace", ""), thing["metadata"]["name"])
