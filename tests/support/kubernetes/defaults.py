"""What the server fills in where a client says nothing."""

from __future__ import annotations

import base64
from typing import Any

Json = dict[str, Any]


def fill(thing: Json) -> None:
    """In place, by the object's kind; what clients wrote stays."""
    if (filler := _BY_KIND.get(thing["kind"])) is not None:
        filler(thing)


def _set(thing: Json, **values: Any) -> None:
    for name, value in values.items():
        thing.setdefault(name, value)


def _deployment(thing: Json) -> None:
    spec = thing["spec"]
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec.setdefault("strategy", {})
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")
    _pod_template(spec)


def _replica_set(thing: Json) -> None:
    _set(thing["spec"], replicas=1)
    _pod_template(thing["spec"])


def _pod_template(spec: Json) -> None:
    template = spec.get("template")
    if isinstance(template, dict):
        template.setdefault("metadata", {})
        _pod_spec(template.setdefault("spec", {}))


def _pod(thing: Json) -> None:
    _pod_spec(thing["spec"])
    _set(thing["spec"], enableServiceLinks=True, serviceAccountName="default")


def _pod_spec(spec: Json) -> None:
    _set(
        spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler", securityContext={},
    )  # fmt: skip
    if "serviceAccountName" in spec:
        _set(spec, serviceAccount=spec["serviceAccountName"])
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        _container(container)
    for volume in spec.get("volumes", []):
        if volume.keys() == {"name"}:
            volume["emptyDir"] = {}
        if "secret" in volume:
            _set(volume["secret"], defaultMode=420)
        if "configMap" in volume:
            _set(volume["configMap"], defaultMode=420)


def _container(container: Json) -> None:
    image = str(container.get("image", ""))
    tag = image.rpartition("/")[2].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    _set(
        container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File", resources={},
        imagePullPolicy="Always" if latest else "IfNotPresent",
    )  # fmt: skip
    for port in container.get("ports", []):
        _set(port, protocol="TCP")
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        if (probe := container.get(name)) is not None:
            _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if "httpGet" in probe:
                _set(probe["httpGet"], path="/", scheme="HTTP")
    resources = container["resources"]
    for name, value in resources.get("limits", {}).items():
        resources.setdefault("requests", {}).setdefault(name, value)
    for variable in container.get("env", []):
        if "fieldRef" in variable.get("valueFrom", {}):
            _set(variable["valueFrom"]["fieldRef"], apiVersion="v1")


def _service(thing: Json) -> None:
    spec = thing["spec"]
    _set(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    for port in spec.get("ports", []):
        _set(port, protocol="TCP", targetPort=port.get("port"))
    if spec["type"] != "ExternalName":
        _set(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")


def _autoscaler(thing: Json) -> None:
    spec = thing["spec"]
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    _set(spec, minReplicas=1, metrics=[cpu])


def _secret(thing: Json) -> None:
    _set(thing, type="Opaque")
    for name, value in thing.pop("stringData", {}).items():
        thing.setdefault("data", {})[name] = base64.b64encode(value.encode()).decode()


def _namespace(thing: Json) -> None:
    thing.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    thing.setdefault("status", {}).setdefault("phase", "Active")
    thing["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = thing["metadata"]["name"]


_BY_KIND = {
    "Deployment": _deployment, "ReplicaSet": _replica_set, "Pod": _pod, "Service": _service, "Secret": _secret,
    "HorizontalPodAutoscaler": _autoscaler, "Namespace": _namespace,
}  # fmt: skip
