"""Small objects for tests that need some."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def deployment(
    name: str = "hello", *, image: str = "registry.example.org/hello:1", replicas: int = 1, **spec: Any
) -> Json:
    """Of one container `app` on port 8080; maxUnavailable 0, maxSurge 1 unless `spec` says otherwise."""
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image, "ports": [{"containerPort": 8080}]}]},
            },
            **spec,
        },
    }  # fmt: skip


def container(thing: Json) -> Json:
    """The first of a Deployment's."""
    found: Json = thing["spec"]["template"]["spec"]["containers"][0]
    return found


def service(name: str = "hello") -> Json:
    """To the pods of the `deployment` of that name."""
    return {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name, "tier": "front"}},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }  # fmt: skip


def secret(name: str = "hello", **data: str) -> Json:
    """Of base64 values."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def autoscaler(name: str = "hello", *, least: int = 1, most: int = 3) -> Json:
    """Of the Deployment of that name."""
    return {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": least, "maxReplicas": most,
        },
    }  # fmt: skip


def budget(name: str = "hello", **spec: Any) -> Json:
    """A PodDisruptionBudget."""
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, **(spec or {"maxUnavailable": 1})},
    }  # fmt: skip


def spin_app(name: str = "hello", **spec: Any) -> Json:
    """Of two replicas."""
    return {
        "apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp", "metadata": {"name": name},
        "spec": {
            "image": "registry.example.org/hello:1", "executor": "containerd-shim-spin", "replicas": 2,
            "variables": [{"name": "greeting", "value": "moin"}], **spec,
        },
    }  # fmt: skip
