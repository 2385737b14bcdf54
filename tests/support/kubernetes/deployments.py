"""The Deployment controller: which ReplicaSet has how many pods."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from tests.support.kubernetes import deployment_status
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.deployment_status import DeploymentStatus, count_of
from tests.support.kubernetes.objects import Objects
from tests.support.kubernetes.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import ClusterClock

Json = dict[str, Any]

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Deployments:
    """The caller holds the storage's lock; each change it makes leads to another call."""

    def __init__(self, storage: Storage, objects: Objects, clock: ClusterClock) -> None:
        self._storage = storage
        self._objects = objects
        self._status = DeploymentStatus(clock)

    def reconcile(self, namespace: str, name: str) -> datetime | None:
        """One step nearer to what the Deployment asks for; says when its time for that is over."""
        deployment = self._storage.find(DEPLOYMENTS, namespace, name)
        if deployment is None or "deletionTimestamp" in deployment["metadata"]:
            return None
        sets = self._sets(deployment)
        new = self._current(deployment, sets)
        old = [one for one in sets if new is None or one["metadata"]["uid"] != new["metadata"]["uid"]]
        if not deployment["spec"].get("paused"):
            if new is None:
                new = self._new_set(deployment, sets)
            self._roll(deployment, new, old)
        return self._write_status(deployment, new, self._sets(deployment))

    def _sets(self, deployment: Json) -> list[Json]:
        found = [
            one for resource, one in self._storage.dependents(deployment["metadata"]["uid"]) if resource is REPLICA_SETS
        ]
        return sorted(found, key=lambda one: int(one["metadata"]["annotations"][REVISION]))

    def _current(self, deployment: Json, sets: list[Json]) -> Json | None:
        wanted = template_hash(deployment)
        for one in sets:
            if one["metadata"]["labels"].get(HASH_LABEL) == wanted:
                latest = max(int(each["metadata"]["annotations"][REVISION]) for each in sets)
                if int(one["metadata"]["annotations"][REVISION]) < latest:
                    one = clone(one)
                    one["metadata"]["annotations"][REVISION] = str(latest + 1)
                    one = self._storage.put(REPLICA_SETS, one)
                return one
        return None

    def _new_set(self, deployment: Json, sets: list[Json]) -> Json:
        metadata, spec = deployment["metadata"], deployment["spec"]
        hash_ = template_hash(deployment)
        template = clone(spec["template"])
        template["metadata"].setdefault("labels", {})[HASH_LABEL] = hash_
        selector = clone(spec["selector"])
        selector.setdefault("matchLabels", {})[HASH_LABEL] = hash_
        revision = 1 + max((int(one["metadata"]["annotations"][REVISION]) for one in sets), default=0)
        new = self._objects.made(REPLICA_SETS, {
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": f"{metadata['name']}-{hash_}", "namespace": metadata["namespace"],
                "labels": dict(template["metadata"]["labels"]), "annotations": {REVISION: str(revision)},
                "ownerReferences": [owner(deployment)],
            },
            "spec": {
                "replicas": 0, "selector": selector, "template": template,
                "minReadySeconds": spec.get("minReadySeconds", 0),
            },
        })  # fmt: skip
        return self._storage.put(REPLICA_SETS, new)

    def _roll(self, deployment: Json, new: Json, old: list[Json]) -> None:
        spec = deployment["spec"]
        wanted = spec["replicas"]
        if spec["strategy"]["type"] == "Recreate":
            for one in old:
                self._scale(one, 0)
            if not any(self._has_pods(one) for one in old):
                self._scale(new, wanted)
            return
        surge, unavailable = deployment_status.shares(spec)
        total = new["spec"]["replicas"] + sum(one["spec"]["replicas"] for one in old)
        if new["spec"]["replicas"] > wanted:
            self._scale(new, wanted)
            return
        room = wanted + surge - total
        if new["spec"]["replicas"] < wanted and room > 0:
            self._scale(new, new["spec"]["replicas"] + min(room, wanted - new["spec"]["replicas"]))
            return
        least = wanted - unavailable
        not_yet = new["spec"]["replicas"] - count_of(new, "availableReplicas")
        self._scale_down(old, total - least - not_yet, least, count_of(new, "availableReplicas"))

    def _scale_down(self, old: list[Json], most: int, least: int, available: int) -> None:
        left = {one["metadata"]["name"]: one["spec"]["replicas"] for one in old}
        for one in old:
            broken = one["spec"]["replicas"] - count_of(one, "availableReplicas")
            taken = max(min(most, broken), 0)
            left[one["metadata"]["name"]] -= taken
            most -= taken
        spare = available + sum(count_of(one, "availableReplicas") for one in old) - least
        for one in old:
            name = one["metadata"]["name"]
            taken = max(min(spare, left[name], most), 0)
            left[name] -= taken
            spare -= taken
            most -= taken
        for one in old:
            self._scale(one, left[one["metadata"]["name"]])

    def _scale(self, one: Json, replicas: int) -> None:
        if one["spec"]["replicas"] != replicas:
            now = clone(one)
            now["spec"]["replicas"] = replicas
            now["metadata"]["generation"] += 1
            self._storage.put(REPLICA_SETS, now)

    def _has_pods(self, one: Json) -> bool:
        return any(resource is PODS for resource, _ in self._storage.dependents(one["metadata"]["uid"]))

    def _write_status(self, deployment: Json, new: Json | None, sets: list[Json]) -> datetime | None:
        now = clone(deployment)
        fresh = next((one for one in sets if new and one["metadata"]["uid"] == new["metadata"]["uid"]), None)
        now["status"] = self._status.of(deployment, fresh, sets)
        if fresh is not None:
            revision = fresh["metadata"]["annotations"][REVISION]
            now["metadata"].setdefault("annotations", {})[REVISION] = revision
        if now != deployment:
            self._storage.put(DEPLOYMENTS, now)
        if fresh is not None and deployment_status.complete(now):
            self._forget_old(sets, deployment["spec"].get("revisionHistoryLimit", 10))
        return deployment_status.deadline(now)

    def _forget_old(self, sets: list[Json], limit: int) -> None:
        idle = [one for one in sets[:-1] if one["spec"]["replicas"] == 0 and not count_of(one, "replicas")]
        for one in idle[: max(len(idle) - limit, 0)]:
            self._storage.remove(REPLICA_SETS, one["metadata"]["namespace"], one["metadata"]["name"])


def owner(thing: Json) -> Json:
    """A reference to it as the controller of what is made."""
    return {
        "apiVersion": thing["apiVersion"], "kind": thing["kind"], "name": thing["metadata"]["name"],
        "uid": thing["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def template_hash(deployment: Json) -> str:
    """What tells its ReplicaSets apart: the same template, the same hash."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True).encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8])
    return "".join(_LETTERS[(number // len(_LETTERS) ** place) % len(_LETTERS)] for place in range(10))
