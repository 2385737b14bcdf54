"""The Kubernetes objects that a deploy stands for, as YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EXECUTOR = "containerd-shim-spin"
_REPLICAS_MAX = 10
_CPU_PERCENT = 60
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


@dataclass(frozen=True)
class App:
    """What is deployed; `replicas` None where it scales by itself. Limits are Kubernetes' quantities, or empty."""

    name: str
    namespace: str
    image: str
    replicas: int | None
    function_id: str = ""
    cpu_limit: str = ""
    memory_limit: str = ""
    service_account: str = ""
    use_spot: bool = False


def spin_app(app: App) -> list[dict[str, Any]]:
    """A SpinApp (core.spinkube.dev), and where it scales by itself, what does that."""
    spec: dict[str, Any] = {"image": app.image, "executor": EXECUTOR}
    if app.replicas is None:
        spec["enableAutoscaling"] = True
    else:
        spec["replicas"] = app.replicas
    if limits := _limits(app):
        spec["resources"] = {"limits": limits}
    if app.function_id:
        spec["podLabels"] = {"function_id": app.function_id}
    found = [{"apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp", "metadata": _metadata(app), "spec": spec}]
    return found + ([_autoscaler(app)] if app.replicas is None else [])


def deployment(app: App) -> list[dict[str, Any]]:
    """A Deployment and a Service for an image that listens for HTTP itself."""
    container: dict[str, Any] = {"name": app.name, "image": app.image, "ports": [{"containerPort": 8080}]}
    if limits := _limits(app):
        container["resources"] = {"limits": limits}
    pod: dict[str, Any] = {"containers": [container]}
    if app.service_account:
        pod["serviceAccountName"] = app.service_account
    labels = {"app": app.name}
    marks = labels | ({"function_id": app.function_id} if app.function_id else {})
    spec: dict[str, Any] = {
        **({} if app.replicas is None else {"replicas": app.replicas}),
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": marks}, "spec": pod},
    }
    service = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    found = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(app), "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(app), "spec": service},
    ]
    return found + ([_autoscaler(app)] if app.replicas is None else [])


def to_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Several documents as one text."""
    return "---\n".join("\n".join([*_lines(document), ""]) for document in documents)


def _metadata(app: App) -> dict[str, Any]:
    found: dict[str, Any] = {"name": app.name, "namespace": app.namespace}
    if app.function_id:
        found["labels"] = {"function_id": app.function_id}
    notes = {"fnmesh.dev/use-spot": "true"} if app.use_spot else {}
    if app.service_account:  # a SpinApp has no field for it
        notes["fnmesh.dev/service-account"] = app.service_account
    return found | ({"annotations": notes} if notes else {})


def _limits(app: App) -> dict[str, str]:
    both = {"cpu": app.cpu_limit, "memory": app.memory_limit}
    return {name: value for name, value in both.items() if value}


def _autoscaler(app: App) -> dict[str, Any]:
    """Scales the Deployment that bears the app's name: the SpinApp's operator makes one too."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": app.name}
    utilization = {"type": "Utilization", "averageUtilization": _CPU_PERCENT}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": 1,
        "maxReplicas": _REPLICAS_MAX,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}],
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": app.name, "namespace": app.namespace},
        "spec": spec,
    }


def _lines(value: Mapping[str, Any], indent: str = "") -> list[str]:
    found: list[str] = []
    for key, one in value.items():
        found += _entry(f"{indent}{_scalar(key)}:", one, indent + "  ")
    return found


def _entry(head: str, value: object, indent: str) -> list[str]:
    if isinstance(value, Mapping):
        return [head, *_lines(value, indent)]
    if isinstance(value, list):
        found = [head]
        for one in value:
            first, *rest = _lines(one, f"{indent}  ")
            found += [f"{indent}- {first.strip()}", *rest]
        return found
    return [f"{head} {_scalar(value)}"]


def _scalar(value: object) -> str:
    """Plain where no reader of YAML could take it for something else, else as JSON, which is YAML too."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)
