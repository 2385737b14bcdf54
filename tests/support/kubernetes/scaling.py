"""The `scale` subresource: a view of an object's replicas."""

from __future__ import annotations

from typing import Any

from tests.support.kubernetes import selectors
from tests.support.kubernetes.resources import Resource


def scale_of(resource: Resource, thing: dict[str, Any]) -> dict[str, Any]:
    """An autoscaling/v1 Scale."""
    metadata, status = thing["metadata"], thing.get("status") or {}
    kept = {
        name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }  # fmt: skip
    selector = selectors.written(thing["spec"].get("selector") or {}) or status.get("selector", "")
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept,
        "spec": {"replicas": thing["spec"].get("replicas", 0)},
        "status": {
            "replicas": status.get("readyReplicas" if resource.custom else "replicas", 0), "selector": selector
        },
    }  # fmt: skip
