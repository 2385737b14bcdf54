"""The operator of SpinKube, as far as a SpinApp's Deployment, Service and status go."""

from __future__ import annotations

from typing import Any

from tests.support.kubernetes import patches
from tests.support.kubernetes.api import Api, Target
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.deployments import owner
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.resources import DEPLOYMENTS, SERVICES, Resource
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import ClusterClock, stamp

Json = dict[str, Any]

SPIN_APPS = "spinapps.core.spinkube.dev"
APP_NAME = "core.spinkube.dev/app-name"
_PORT = 80
_PORT_NAME = "http-app"


class SpinOperator:
    """The caller holds the storage's lock."""

    def __init__(self, storage: Storage, api: Api, clock: ClusterClock) -> None:
        self._storage = storage
        self._api = api
        self._clock = clock

    def reconcile(self, resource: Resource, namespace: str, name: str) -> None:
        """Applies the Deployment and the Service of the app's name, and says in its status how they are."""
        app = self._storage.find(resource, namespace, name)
        if app is None or "deletionTimestamp" in app["metadata"]:
            return
        options = Options(manager="spin-operator", force=True)
        for kind, wanted in ((DEPLOYMENTS, _deployment(app)), (SERVICES, _service(app))):
            self._api.patch(Target(kind, namespace, name), wanted, patches.APPLY, options)
        self._write_status(resource, app)

    def _write_status(self, resource: Resource, app: Json) -> None:
        metadata = app["metadata"]
        deployment = self._storage.find(DEPLOYMENTS, metadata["namespace"], metadata["name"]) or {}
        seen = deployment.get("status") or {}
        known = {one["type"]: one for one in (app.get("status") or {}).get("conditions") or []}
        conditions = []
        for condition in seen.get("conditions") or []:
            if condition["type"] in ("Available", "Progressing"):
                said = {key: condition[key] for key in ("type", "status", "reason", "message")}
                before = known.get(condition["type"], {})
                same = before.get("status") == said["status"]
                since = before["lastTransitionTime"] if same else stamp(self._clock.now())
                conditions.append({**said, "lastTransitionTime": since})
        now = clone(app)
        now["status"] = {
            "activeScheduler": app["spec"]["executor"], "readyReplicas": seen.get("readyReplicas", 0),
            "deploymentName": metadata["name"], "serviceName": metadata["name"], "conditions": conditions,
        }  # fmt: skip
        if now != app:
            self._storage.put(resource, now)


def _labels(app: Json) -> dict[str, str]:
    name = app["metadata"]["name"]
    return {APP_NAME: name, f"core.spinkube.dev/app.{name}.status": "ready"}


def _deployment(app: Json) -> Json:
    spec, metadata = app["spec"], app["metadata"]
    labels = _labels(app)
    variables = [
        {
            "name": f"SPIN_VARIABLE_{one['name'].upper()}",
            **{key: one[key] for key in ("value", "valueFrom") if key in one},
        }
        for one in spec.get("variables", [])
    ]
    container = {
        "name": metadata["name"], "image": spec["image"], "command": ["/"],
        "ports": [{"name": _PORT_NAME, "containerPort": _PORT, "protocol": "TCP"}],
        "env": [*variables, {"name": "SPIN_HTTP_LISTEN_ADDR", "value": f"0.0.0.0:{_PORT}"}],
        "resources": spec.get("resources", {}),
        **({"volumeMounts": spec["volumeMounts"]} if spec.get("volumeMounts") else {}),
        **{f"{name}Probe": _probe(probe) for name, probe in spec.get("checks", {}).items()},
    }  # fmt: skip
    replicas = {} if spec.get("enableAutoscaling") else {"replicas": spec.get("replicas", 0)}
    pod = {
        "serviceAccountName": spec.get("serviceAccountName", "default"),
        "runtimeClassName": "wasmtime-spin-v2",
        "containers": [container],
        **{key: spec[key] for key in ("imagePullSecrets", "volumes") if spec.get(key)},
    }
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "labels": {APP_NAME: metadata["name"]},
            "annotations": spec.get("deploymentAnnotations", {}), "ownerReferences": [owner(app)],
        },
        "spec": {
            **replicas, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": {**spec.get("podLabels", {}), **labels}, "annotations": spec.get("podAnnotations", {}),
                },
                "spec": pod,
            },
        },
    }  # fmt: skip


def _probe(probe: Json) -> Json:
    return {**probe, "httpGet": {**probe["httpGet"], "port": _PORT}}


def _service(app: Json) -> Json:
    metadata = app["metadata"]
    labels = _labels(app)
    labels_of_status = {key: value for key, value in labels.items() if key != APP_NAME}
    return {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "labels": {APP_NAME: metadata["name"]},
            "annotations": app["spec"].get("serviceAnnotations", {}), "ownerReferences": [owner(app)],
        },
        "spec": {
            "type": "ClusterIP", "selector": labels_of_status,
            "ports": [{"protocol": "TCP", "port": _PORT, "targetPort": _PORT_NAME}],
        },
    }  # fmt: skip
