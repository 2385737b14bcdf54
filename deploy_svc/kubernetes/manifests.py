"""The objects that an app is on a cluster, in the order in which they are applied. Pure.

The main object comes before the Service: its selector cannot be changed, so that where two functions should ever claim
a name at once, the second one fails before it has taken anything from the first.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from deploy_svc.kubernetes.app_spec import App, AppKind
from deploy_svc.kubernetes.container_app import deployment
from deploy_svc.kubernetes.names import (
    APPLIED,
    FUNCTION_LABEL,
    MANAGER,
    MESH_LABEL,
    SECRET,
    secret_name,
)
from deploy_svc.kubernetes.placement import Spot
from deploy_svc.kubernetes.resources import CPU_REQUEST_PARTS
from deploy_svc.kubernetes.spin_app import spin_app

Manifest = dict[str, Any]
_CPU_PERCENT = 70  # of the limit; of the request it is more


@dataclass(frozen=True, slots=True)
class Options:
    """What deploy_svc's settings say about all apps."""

    spot: Spot = field(default_factory=Spot)
    progress_s: int = 180


def render(app: App, options: Options) -> list[Manifest]:
    """All objects of an app, each but its Secret with the mark of what it was made of.

    The Secret has none, which would tell a guesser whether the guess was right. It is applied whenever the main object
    is: a change of secrets makes a new revision.
    """
    labels = labels_of(app)
    main = _main(app, labels, options)
    if app.secrets:
        main["metadata"]["annotations"] = {SECRET: secret_name(app.name, app.function_uid)}
    objects = [main]
    if app.kind is AppKind.CONTAINER:
        objects.append(_service(app, labels))
    if app.autoscaling:
        objects.append(_autoscaler(app, labels))
    if app.kind is AppKind.CONTAINER and app.least > 1:
        objects.append(_disruption_budget(app, labels))
    return [*([_secret(app, labels)] if app.secrets else []), *(_stamped(one) for one in objects)]


def _main(app: App, labels: Mapping[str, str], options: Options) -> Manifest:
    if app.kind is AppKind.SPIN:
        return spin_app(app, labels)
    return deployment(app, labels, selector_of(app), options.spot, options.progress_s)


def labels_of(app: App) -> dict[str, str]:
    """The labels of every object of an app."""
    return {
        "app.kubernetes.io/name": app.name,
        "app.kubernetes.io/instance": app.name,
        "app.kubernetes.io/managed-by": MANAGER,
        "app.kubernetes.io/part-of": MANAGER,
        MESH_LABEL: app.mesh,
        FUNCTION_LABEL: app.function_uid,
    }


def selector_of(app: App) -> dict[str, str]:
    """What tells an app's pods from all others; it never changes, not even with the revision."""
    return {"app.kubernetes.io/instance": app.name, MESH_LABEL: app.mesh, FUNCTION_LABEL: app.function_uid}


def to_yaml(objects: Sequence[Mapping[str, Any]]) -> str:
    """The objects as one YAML stream; values of secrets are left out."""
    shown = [_shown(one) for one in objects]
    return yaml.dump_all(shown, Dumper=_Plain, sort_keys=False, width=1_000_000, explicit_start=True)


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # 40 times as fast, where it is there
    """Writes what is the same twice: people read it, and other tools may know no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _shown(manifest: Mapping[str, Any]) -> dict[str, Any]:
    if manifest["kind"] != "Secret":
        return dict(manifest)
    return {**manifest, "data": dict.fromkeys(manifest["data"], "")}


def digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of an object, whatever the order of its keys is."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _stamped(manifest: Manifest) -> Manifest:
    annotations = manifest["metadata"].get("annotations", {})
    metadata = {**manifest["metadata"], "annotations": {APPLIED: digest(manifest), **annotations}}
    return {**manifest, "metadata": metadata}


def _metadata(app: App, labels: Mapping[str, str], name: str = "") -> dict[str, Any]:
    return {"name": name or app.name, "namespace": app.namespace, "labels": dict(labels)}


def _secret(app: App, labels: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(app, labels, secret_name(app.name, app.function_uid)),
        "type": "Opaque",
        "data": {key: base64.b64encode(app.secrets[key].encode()).decode() for key in sorted(app.secrets)},
    }


def _service(app: App, labels: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(app, labels),
        "spec": {
            "type": "ClusterIP",
            "selector": selector_of(app),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _autoscaler(app: App, labels: Mapping[str, str]) -> Manifest:
    """Of the Deployment in either case: the one that the operator makes has the SpinApp's name."""
    usage = {"type": "Utilization", "averageUtilization": _CPU_PERCENT * CPU_REQUEST_PARTS}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(app, labels),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": app.name},
            "minReplicas": app.least,
            "maxReplicas": app.most,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": usage}}],
        },
    }


def _disruption_budget(app: App, labels: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(app, labels),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector_of(app)},
        },
    }
