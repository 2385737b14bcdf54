"""What it takes to delete an object: preconditions, finalizers, grace, and what becomes of what it owns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.support.kubernetes import statuses
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.resources import NAMESPACES, PODS, Resource
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import ClusterClock, stamp

Json = dict[str, Any]

_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


@dataclass(frozen=True)
class DeleteOptions:
    """`propagation` is Background, Foreground or Orphan; `grace_s` of None means what the pod says."""

    grace_s: int | None = None
    propagation: str = "Background"
    preconditions: Json = field(default_factory=dict)
    dry_run: bool = False


class Deleting:
    """The caller holds the storage's lock."""

    def __init__(self, storage: Storage, clock: ClusterClock) -> None:
        self._storage = storage
        self._clock = clock

    def delete(self, resource: Resource, thing: Json, options: DeleteOptions) -> Json:
        """Removes it, or marks it as going: then the thing is returned, else a Status."""
        self._require(resource, thing, options.preconditions)
        if options.dry_run:
            return _success(resource, thing)
        metadata = thing["metadata"]
        finalizers = list(metadata.get("finalizers") or [])
        wanted = _FINALIZERS.get(options.propagation)
        if wanted and wanted not in finalizers and "deletionTimestamp" not in metadata:
            finalizers.append(wanted)
        grace_s = self._grace(resource, thing, options)
        if finalizers or grace_s or resource is NAMESPACES:
            return self._mark(resource, thing, finalizers, grace_s)
        self._storage.remove(resource, metadata.get("namespace", ""), metadata["name"])
        return _success(resource, thing)

    def waited_for_finalizers(self, resource: Resource, thing: Json) -> bool:
        """Whether something marked as going may go as soon as it has no finalizer."""
        gone = "deletionTimestamp" in thing["metadata"]
        return gone and resource is not NAMESPACES and not thing["metadata"].get("deletionGracePeriodSeconds")

    def _require(self, resource: Resource, thing: Json, preconditions: Json) -> None:
        for name, said in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted, found = preconditions.get(name), thing["metadata"][name]
            if wanted is not None and wanted != found:
                message = f"Precondition failed: {said} in precondition: {wanted}, {said} in object meta: {found}"
                raise statuses.conflict(resource, thing["metadata"]["name"], message)

    def _grace(self, resource: Resource, thing: Json, options: DeleteOptions) -> int:
        if resource is not PODS or not thing["spec"].get("nodeName"):
            return 0
        if thing.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        asked = options.grace_s
        return int(thing["spec"].get("terminationGracePeriodSeconds", 30)) if asked is None else asked

    def _mark(self, resource: Resource, thing: Json, finalizers: list[str], grace_s: int) -> Json:
        now = clone(thing)
        metadata = now["metadata"]
        if "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds", 0) <= grace_s:
            return thing
        metadata["deletionTimestamp"] = stamp(self._clock.now() + timedelta(seconds=grace_s))
        metadata["deletionGracePeriodSeconds"] = grace_s
        if "generation" in metadata:
            metadata["generation"] += 1
        if finalizers:
            metadata["finalizers"] = finalizers
        if resource is NAMESPACES:
            now["status"] = {**now.get("status", {}), "phase": "Terminating"}
        return self._storage.put(resource, now)


def _success(resource: Resource, thing: Json) -> Json:
    metadata = thing["metadata"]
    details = {
        "name": metadata["name"], **({"group": resource.group} if resource.group else {}),
        "kind": resource.plural, "uid": metadata["uid"],
    }  # fmt: skip
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
