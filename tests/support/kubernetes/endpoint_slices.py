"""The EndpointSlice controller: behind each Service, where its pods are."""

from __future__ import annotations

from typing import Any

from tests.support.kubernetes.deployments import owner
from tests.support.kubernetes.objects import Objects, random_suffix
from tests.support.kubernetes.pod_status import is_ready
from tests.support.kubernetes.resources import ENDPOINT_SLICES, PODS, SERVICES
from tests.support.kubernetes.selectors import selected
from tests.support.kubernetes.storage import Storage

Json = dict[str, Any]

SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


class EndpointSlices:
    """One slice for each Service that has a selector. The caller holds the storage's lock."""

    def __init__(self, storage: Storage, objects: Objects) -> None:
        self._storage = storage
        self._objects = objects

    def services_of(self, pod: Json) -> list[str]:
        """The names of the Services that select it."""
        labels = pod["metadata"].get("labels") or {}
        found: set[str] = set()
        for key, value in labels.items():
            for service in self._storage.selecting(SERVICES, pod["metadata"]["namespace"], key, value):
                if selected({"matchLabels": service["spec"]["selector"]}, labels):
                    found.add(service["metadata"]["name"])
        return sorted(found)

    def reconcile(self, namespace: str, name: str) -> None:
        """Brings the slice of a Service up to date."""
        service = self._storage.find(SERVICES, namespace, name)
        if service is None or not service["spec"].get("selector"):
            return
        before = self._slice(service)
        now = self._wanted(service, before)
        if before is None:
            self._storage.put(ENDPOINT_SLICES, self._objects.made(ENDPOINT_SLICES, now))
        elif {**before, "metadata": {}} != {**now, "metadata": {}} or before["metadata"] != now["metadata"]:
            now["metadata"] = {**now["metadata"], "generation": before["metadata"]["generation"] + 1}
            self._storage.put(ENDPOINT_SLICES, now)

    def _slice(self, service: Json) -> Json | None:
        for resource, one in self._storage.dependents(service["metadata"]["uid"]):
            if resource is ENDPOINT_SLICES:
                return one
        return None

    def _wanted(self, service: Json, before: Json | None) -> Json:
        metadata = service["metadata"]
        headless = {"service.kubernetes.io/headless": ""} if service["spec"].get("clusterIP") == "None" else {}
        known = before["metadata"] if before else {"name": f"{metadata['name']}-{random_suffix()}"}
        labels = {
            **(metadata.get("labels") or {}), **headless, SERVICE_NAME: metadata["name"],
            _MANAGED_BY: "endpointslice-controller.k8s.io",
        }  # fmt: skip
        selector = service["spec"]["selector"]
        key, value = next(iter(selector.items()))
        pods = [
            pod for pod in self._storage.labelled(PODS, metadata["namespace"], key, value)
            if selected({"matchLabels": selector}, pod["metadata"].get("labels") or {})
        ]  # fmt: skip
        pods.sort(key=lambda pod: str(pod["metadata"]["name"]))
        reachable = [
            pod for pod in pods
            if (pod.get("status") or {}).get("podIP") and pod["status"]["phase"] not in ("Failed", "Succeeded")
        ]  # fmt: skip
        return {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                **known, "namespace": metadata["namespace"], "labels": labels, "ownerReferences": [owner(service)],
                "generateName": f"{metadata['name']}-",
            },
            "addressType": "IPv4",
            "endpoints": [_endpoint(pod, service) for pod in reachable],
            "ports": _ports(service, reachable),
        }  # fmt: skip


def _endpoint(pod: Json, service: Json) -> Json:
    terminating = "deletionTimestamp" in pod["metadata"]
    serving = is_ready(pod)
    ready = (serving and not terminating) or bool(service["spec"].get("publishNotReadyAddresses"))
    metadata = pod["metadata"]
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": {
            "kind": "Pod", "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
        },
    }  # fmt: skip


def _ports(service: Json, pods: list[Json]) -> list[Json]:
    ports: list[Json] = []
    for port in service["spec"].get("ports") or []:
        target = port["targetPort"]
        if isinstance(target, str):
            named = [
                one for pod in pods[:1] for container in pod["spec"]["containers"] for one in container.get("ports", [])
            ]
            target = next((one["containerPort"] for one in named if one.get("name") == target), None)
        if target is not None:
            ports.append({"name": port.get("name", ""), "port": target, "protocol": port["protocol"]})
    return ports
