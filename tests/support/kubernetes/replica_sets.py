"""The ReplicaSet controller: as many pods as are asked for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.support.kubernetes.api import Api, Target
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.deleting import DeleteOptions
from tests.support.kubernetes.deployments import owner
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.pod_status import is_ready, ready_since
from tests.support.kubernetes.resources import PODS, REPLICA_SETS
from tests.support.kubernetes.statuses import ApiError
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import ClusterClock, parsed, stamp

Json = dict[str, Any]

_MANAGER = Options(manager="kube-controller-manager")


class ReplicaSets:
    """The caller holds the storage's lock."""

    def __init__(self, storage: Storage, api: Api, clock: ClusterClock) -> None:
        self._storage = storage
        self._api = api
        self._clock = clock

    def reconcile(self, namespace: str, name: str) -> datetime | None:
        """Makes or deletes what differs, counts what is there, and says when to look again."""
        found = self._storage.find(REPLICA_SETS, namespace, name)
        if found is None or "deletionTimestamp" in found["metadata"]:
            return None
        active = self._active(found)
        wanted = found["spec"]["replicas"]
        failure = ""
        try:
            for _ in range(wanted - len(active)):
                self._make(found)
        except ApiError as error:
            failure = error.message
        for pod in sorted(active, key=_first_to_go)[: max(len(active) - wanted, 0)]:
            self._api.delete(Target(PODS, namespace, pod["metadata"]["name"]), DeleteOptions())
        return self._write_status(found, failure)

    def failed(self, namespace: str) -> list[str]:
        """Those that could not make their pods."""
        return [
            one["metadata"]["name"] for one in self._storage.all(REPLICA_SETS, namespace)
            if (one.get("status") or {}).get("conditions")
        ]  # fmt: skip

    def _active(self, replica_set: Json) -> list[Json]:
        owned = [pod for resource, pod in self._storage.dependents(replica_set["metadata"]["uid"]) if resource is PODS]
        ended = ("Failed", "Succeeded")
        return [
            pod for pod in owned
            if "deletionTimestamp" not in pod["metadata"] and (pod.get("status") or {}).get("phase") not in ended
        ]  # fmt: skip

    def _make(self, replica_set: Json) -> None:
        template, metadata = replica_set["spec"]["template"], replica_set["metadata"]
        pod = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                **clone(template["metadata"]), "generateName": f"{metadata['name']}-",
                "namespace": metadata["namespace"],
                "ownerReferences": [owner(replica_set)],
            },
            "spec": clone(template["spec"]),
        }  # fmt: skip
        made = self._api.create(Target(PODS, metadata["namespace"]), pod, _MANAGER)
        now = clone(made)
        now["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
        self._storage.put(PODS, now)

    def _write_status(self, replica_set: Json, failure: str) -> datetime | None:
        active = self._active(replica_set)
        now = self._clock.now()
        ready = [pod for pod in active if is_ready(pod)]
        least_s = replica_set["spec"].get("minReadySeconds", 0)
        counts = {
            "fullyLabeledReplicas": len(active), "readyReplicas": len(ready),
            "availableReplicas": sum(_available_at(pod, least_s) <= now for pod in ready),
        }  # fmt: skip
        status: Json = {"replicas": len(active), **{name: count for name, count in counts.items() if count}}
        status["observedGeneration"] = replica_set["metadata"]["generation"]
        if failure:
            before = (replica_set.get("status") or {}).get("conditions") or []
            since = before[0]["lastTransitionTime"] if before else stamp(now)
            status["conditions"] = [{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure,
                "lastTransitionTime": since,
            }]  # fmt: skip
        if status != replica_set.get("status"):
            self._storage.put(REPLICA_SETS, {**replica_set, "status": status})
        return min((at for pod in ready if (at := _available_at(pod, least_s)) > now), default=None)


def _available_at(pod: Json, least_s: int) -> datetime:
    since = ready_since(pod)
    assert since is not None
    return parsed(since) + timedelta(seconds=least_s)


def _first_to_go(pod: Json) -> tuple[bool, bool, int]:
    # What has no node, then what is not ready, then what is youngest.
    return bool(pod["spec"].get("nodeName")), is_ready(pod), -int(pod["metadata"]["resourceVersion"])
