"""The SpinApp kind as a cluster with SpinKube knows it: as much of its schema as is used here, in our own words."""

from __future__ import annotations

from typing import Any

_STRING: dict[str, Any] = {"type": "string"}
_LABELS: dict[str, Any] = {"type": "object", "additionalProperties": _STRING}
_FREE: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_QUANTITY: dict[str, Any] = {"anyOf": [{"type": "integer"}, _STRING], "x-kubernetes-int-or-string": True}
_QUANTITIES: dict[str, Any] = {"type": "object", "additionalProperties": _QUANTITY}
_PROBE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "httpGet": {
            "type": "object", "required": ["path"],
            "properties": {
                "path": _STRING,
                "httpHeaders": {
                    "type": "array",
                    "items": {
                        "type": "object", "required": ["name", "value"],
                        "properties": {"name": _STRING, "value": _STRING},
                    },
                },
            },
        },
        **{
            name: {"type": "integer", "format": "int32", "default": value}
            for name, value in (
                ("initialDelaySeconds", 10), ("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1),
                ("failureThreshold", 3),
            )
        },
    },
}  # fmt: skip
_SPEC: dict[str, Any] = {
    "type": "object", "required": ["executor", "image"],
    "properties": {
        "image": _STRING,
        "executor": _STRING,
        "replicas": {"type": "integer", "format": "int32"},
        "enableAutoscaling": {"type": "boolean", "default": False},
        "components": {"type": "array", "items": _STRING},
        "invocationLimits": _LABELS,
        "imagePullSecrets": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": _STRING}, "x-kubernetes-map-type": "atomic"},
        },
        "serviceAccountName": _STRING,
        "variables": {
            "type": "array",
            "items": {
                "type": "object", "required": ["name"],
                "properties": {"name": _STRING, "value": _STRING, "valueFrom": _FREE},
            },
        },
        "resources": {"type": "object", "properties": {"limits": _QUANTITIES, "requests": _QUANTITIES}},
        "checks": {"type": "object", "properties": {"liveness": _PROBE, "readiness": _PROBE}},
        "runtimeConfig": _FREE,
        "volumes": {"type": "array", "items": _FREE},
        "volumeMounts": {"type": "array", "items": _FREE},
        "podLabels": _LABELS,
        "podAnnotations": _LABELS,
        "deploymentAnnotations": _LABELS,
        "serviceAnnotations": _LABELS,
    },
}  # fmt: skip
_STATUS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "activeScheduler": _STRING,
        "readyReplicas": {"type": "integer", "format": "int32"},
        "deploymentName": _STRING,
        "serviceName": _STRING,
        "conditions": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object", "required": ["type", "status"],
                "properties": {
                    **dict.fromkeys(("type", "status", "reason", "message", "lastTransitionTime"), _STRING),
                    "observedGeneration": {"type": "integer"},
                },
            },
        },
    },
}  # fmt: skip

SPIN_APP_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "spinapps.core.spinkube.dev"},
    "spec": {
        "group": "core.spinkube.dev",
        "scope": "Namespaced",
        "names": {"kind": "SpinApp", "listKind": "SpinAppList", "plural": "spinapps", "singular": "spinapp"},
        "versions": [{
            "name": "v1alpha1", "served": True, "storage": True,
            # It has no scale: an autoscaler of a SpinApp does nothing, that of its Deployment does.
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": _SPEC, "status": _STATUS}}},
        }],
    },
}  # fmt: skip
