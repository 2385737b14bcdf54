"""The SpinApp of an app that is a Spin component; SpinKube's operator makes a Deployment and a Service of it. Pure.

Fewer than one replica a SpinApp cannot have, so an app that may rest leaves their number to its Deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy_svc.kubernetes.app_spec import App
from deploy_svc.kubernetes.container_app import pod_metadata
from deploy_svc.kubernetes.names import secret_name
from deploy_svc.kubernetes.resources import resources

GROUP = "core.spinkube.dev"
_EXECUTOR = "containerd-shim-spin"
_HEALTH_PATH = "/.well-known/spin/health"  # answered by every Spin application


def spin_app(app: App, labels: Mapping[str, str]) -> dict[str, Any]:
    """The SpinApp; the function's env and secrets are its variables."""
    pods = pod_metadata(app, labels)
    spec: dict[str, Any] = {"image": app.image, "executor": _EXECUTOR}
    spec |= {"enableAutoscaling": True} if app.scaled_apart else {"replicas": app.replicas}
    spec |= {
        "podLabels": pods["labels"],
        "podAnnotations": pods["annotations"],
        "resources": resources(app.limits),
        "checks": {
            "readiness": {"httpGet": {"path": _HEALTH_PATH}, "initialDelaySeconds": 1, "periodSeconds": 5},
            "liveness": {"httpGet": {"path": _HEALTH_PATH}, "timeoutSeconds": 5},
        },
    }
    variables = _variables(app)
    if variables:
        spec["variables"] = variables
    if app.service_account:
        spec["serviceAccountName"] = app.service_account
    if app.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in app.pull_secrets]
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "SpinApp",
        "metadata": {"name": app.name, "namespace": app.namespace, "labels": dict(labels)},
        "spec": spec,
    }


def _variables(app: App) -> list[dict[str, Any]]:
    plain = [{"name": key.lower(), "value": value} for key, value in sorted(app.env.items())]
    reference = {"name": secret_name(app.name, app.function_uid), "optional": True}
    secret = [
        {"name": key.lower(), "valueFrom": {"secretKeyRef": {**reference, "key": key}}} for key in sorted(app.secrets)
    ]
    return plain + secret
