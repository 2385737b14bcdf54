"""A Deployment's `status`: counts, conditions, and when its time to progress is over."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from tests.support.kubernetes.times import ClusterClock, parsed, stamp

Json = dict[str, Any]

_ADVANCING = ("updatedReplicas", "readyReplicas", "availableReplicas")
_SETTLED = ("NewReplicaSetAvailable", "ProgressDeadlineExceeded")


class DeploymentStatus:
    """Conditions keep the time since when they are so."""

    def __init__(self, clock: ClusterClock) -> None:
        self._clock = clock

    def of(self, deployment: Json, new: Json | None, sets: list[Json]) -> Json:
        """What there is to say now; `new` is the one of its ReplicaSets `sets` that has its template."""
        before = deployment.get("status") or {}
        available = sum(count_of(one, "availableReplicas") for one in sets)
        counts = {
            "replicas": sum(count_of(one, "replicas") for one in sets),
            "updatedReplicas": count_of(new, "replicas"),
            "readyReplicas": sum(count_of(one, "readyReplicas") for one in sets),
            "availableReplicas": available,
            "unavailableReplicas": max(sum(one["spec"]["replicas"] for one in sets) - available, 0),
        }
        status: Json = {"observedGeneration": deployment["metadata"]["generation"]}
        status |= {name: count for name, count in counts.items() if count}
        conditions = {one["type"]: one for one in before.get("conditions") or []}
        self._note_available(conditions, deployment["spec"], available)
        self._note_progress(conditions, deployment, before, counts, new)
        self._note_failure(conditions, new)
        status["conditions"] = list(conditions.values())
        return status

    def _note_available(self, conditions: dict[str, Json], spec: Json, available: int) -> None:
        if available >= spec["replicas"] - shares(spec)[1]:
            said = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            said = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        self._note(conditions, "Available", *said)

    def _note_progress(
        self, conditions: dict[str, Json], deployment: Json, before: Json, counts: dict[str, int], new: Json | None
    ) -> None:
        spec = deployment["spec"]
        if new is None:
            return
        name = new["metadata"]["name"]
        known = conditions.get("Progressing")
        fresh = known is None or f'"{name}"' not in known["message"]
        advanced = any(counts[key] > before.get(key, 0) for key in _ADVANCING)
        if _done(spec, counts):
            said = ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.')
        elif fresh:
            said = ("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
        elif advanced or before.get("replicas", 0) > counts["replicas"]:
            said = ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
        elif known is not None and known["reason"] != "NewReplicaSetAvailable" and self._late(known, spec):
            said = ("False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.')
        else:
            return
        self._note(conditions, "Progressing", *said, again=advanced)

    def _late(self, progressing: Json, spec: Json) -> bool:
        return self._clock.now() > _deadline(progressing, spec)

    def _note_failure(self, conditions: dict[str, Json], new: Json | None) -> None:
        conditions.pop("ReplicaFailure", None)
        for one in ((new or {}).get("status") or {}).get("conditions") or []:  # ReplicaSets have no other
            conditions["ReplicaFailure"] = {**one, "lastUpdateTime": one["lastTransitionTime"]}

    def _note(
        self, conditions: dict[str, Json], name: str, status: str, reason: str, message: str, *, again: bool = False
    ) -> None:
        known = conditions.get(name)
        time = stamp(self._clock.now())
        since = known["lastTransitionTime"] if known and known["status"] == status else time
        same = known and (known["status"], known["reason"], known["message"]) == (status, reason, message) and not again
        updated = known["lastUpdateTime"] if known and same else time
        conditions[name] = {
            "type": name, "status": status, "reason": reason, "message": message, "lastUpdateTime": updated,
            "lastTransitionTime": since,
        }  # fmt: skip


def complete(deployment: Json) -> bool:
    """Whether all its pods are of its template, and available."""
    return _done(deployment["spec"], deployment["status"])


def deadline(deployment: Json) -> datetime | None:
    """When its time to progress is over; None if nothing is waited for."""
    for condition in deployment["status"]["conditions"]:
        if condition["type"] == "Progressing" and condition["reason"] not in _SETTLED:
            return _deadline(condition, deployment["spec"])
    return None


def _deadline(progressing: Json, spec: Json) -> datetime:
    return parsed(progressing["lastUpdateTime"]) + timedelta(seconds=spec.get("progressDeadlineSeconds", 600))


def _done(spec: Json, counts: dict[str, int]) -> bool:
    return all(counts.get(key, 0) == spec["replicas"] for key in ("updatedReplicas", "replicas", "availableReplicas"))


def count_of(one: Json | None, name: str) -> int:
    """A number of a ReplicaSet's status; 0 if it does not say."""
    return int(((one or {}).get("status") or {}).get(name, 0))


def shares(spec: Json) -> tuple[int, int]:
    """maxSurge, rounded up, and maxUnavailable, rounded down; never both 0."""
    if spec["strategy"]["type"] == "Recreate":
        return 0, spec["replicas"]
    rolling = spec["strategy"]["rollingUpdate"]
    surge = _share(rolling["maxSurge"], spec["replicas"], math.ceil)
    unavailable = _share(rolling["maxUnavailable"], spec["replicas"], math.floor)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def _share(share: str | int, replicas: int, rounded: Any) -> int:
    return share if isinstance(share, int) else int(rounded(int(share.rstrip("%")) * replicas / 100))
