"""metrics.k8s.io: what the kubelet says that pods use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.support.kubernetes import listing, statuses
from tests.support.kubernetes.api import Target
from tests.support.kubernetes.resources import POD_METRICS, PODS
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import stamp

Json = dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """Of each container of a pod."""

    cpu: str = "0"
    memory: str = "0"


def answer(
    storage: Storage, usage: Mapping[str, Usage], target: Target, query: Mapping[str, str], now: datetime
) -> Json:
    """One pod's figures, or those of all that run; `usage` is by uid. Raises ApiError 404."""
    with storage.lock:
        if target.name:
            pod = storage.find(PODS, target.namespace, target.name)
            if pod is None or not _runs(pod):
                raise statuses.not_found(POD_METRICS, target.name)
            return _figures(pod, usage, now)
        matches = listing.chosen(PODS, query)
        found = [pod for pod in storage.all(PODS, target.namespace) if _runs(pod) and matches(pod)]
        items = [_figures(pod, usage, now) for pod in found]
    return {"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}


def _runs(pod: Json) -> bool:
    return bool((pod.get("status") or {}).get("phase") == "Running")


def _figures(pod: Json, usage: Mapping[str, Usage], now: datetime) -> Json:
    metadata = pod["metadata"]
    used = usage.get(metadata["uid"], Usage())
    return {
        "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "labels": metadata.get("labels", {}),
            "creationTimestamp": stamp(now),
        },
        "timestamp": stamp(now), "window": "15s",
        "containers": [
            {"name": one["name"], "usage": {"cpu": used.cpu, "memory": used.memory}}
            for one in pod["spec"]["containers"]
        ],
    }  # fmt: skip
