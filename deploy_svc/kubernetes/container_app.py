"""The Deployment of an app that is an image. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from deploy_svc.kubernetes.app_spec import App
from deploy_svc.kubernetes.names import CONCURRENCY, CONTAINER, REVISION_LABEL, TIMEOUT_MS, secret_name
from deploy_svc.kubernetes.placement import Spot, spot_fields, spread
from deploy_svc.kubernetes.resources import resources
from runtimes.catalog import PORT, RUN_UID

_READY_PATH = "/.fnmesh/ready"
_PRE_STOP_S = 5  # until everybody who sends requests has heard that the pod ends
_END_S = 5
_LIVENESS_S = 10
_SILENT_S = 15  # a handler may keep its whole process busy for as long as a request may take
_SCRATCH = "256Mi"


def deployment(
    app: App, labels: Mapping[str, str], selector: Mapping[str, str], spot: Spot, progress_s: int
) -> dict[str, Any]:
    """A new pod answers before an old one is taken away. With autoscaling the number of pods is not ours to say."""
    spec: dict[str, Any] = {} if app.autoscaling else {"replicas": app.replicas}
    spec |= {
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": progress_s,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": dict(selector)},
        "template": {"metadata": pod_metadata(app, labels), "spec": _pod_spec(app, selector, spot)},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app.name, "namespace": app.namespace, "labels": dict(labels)},
        "spec": spec,
    }


def pod_metadata(app: App, labels: Mapping[str, str]) -> dict[str, Any]:
    """Labels and annotations of pods: from them alone deploy_svc knows which revision runs, and how much it takes."""
    return {
        "labels": {**labels, REVISION_LABEL: str(app.revision)},
        "annotations": {
            CONCURRENCY: str(app.limits.concurrency),
            TIMEOUT_MS: str(app.limits.timeout_ms),
        },
    }


def _pod_spec(app: App, selector: Mapping[str, str], spot: Spot) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _PRE_STOP_S + math.ceil(app.limits.timeout_ms / 1000) + _END_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": RUN_UID,
            "runAsGroup": RUN_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(app)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": _SCRATCH}}],
        "topologySpreadConstraints": spread(selector),
    }
    if app.service_account:
        spec["serviceAccountName"] = app.service_account
    if app.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in app.pull_secrets]
    if app.use_spot:
        spec |= spot_fields(spot)
    return spec


def _container(app: App) -> dict[str, Any]:
    env = {"HOME": "/tmp", "TMPDIR": "/tmp", **app.env}  # noqa: S108 -- the pod's own
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": app.image,
        "args": list(app.arguments),
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "env": [{"name": name, "value": value} for name, value in sorted(env.items())],
        "resources": resources(app.limits),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 -- the pod's own
        **_probes(app),
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRE_STOP_S}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if app.secrets:
        # Pods of an older revision may be restarted when there are no secrets any more.
        container["envFrom"] = [{"secretRef": {"name": secret_name(app.name, app.function_uid), "optional": True}}]
    return container


def _probes(app: App) -> dict[str, Any]:
    probe = {"httpGet": {"path": _READY_PATH, "port": "http"}, "timeoutSeconds": 5}
    silent_s = max(_SILENT_S, math.ceil(app.limits.timeout_ms / 1000) + _END_S)
    return {
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            **probe,
            "periodSeconds": _LIVENESS_S,
            "failureThreshold": math.ceil(silent_s / _LIVENESS_S) + 1,
        },
    }
