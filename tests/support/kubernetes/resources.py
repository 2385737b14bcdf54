"""The kinds of object the fake cluster serves, and where: the built-in ones, and those of CRDs that are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

_ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    """One kind under one path. `subresources` are those with a path of their own."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    short_names: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _ALL_VERBS
    custom: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As messages name it, and as it is stored: "deployments.apps", "pods"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, ("status",), ("ns",))
PODS = Resource("", "v1", "pods", "Pod", True, ("status", "log"), ("po",))
SERVICES = Resource("", "v1", "services", "Service", True, ("status",), ("svc",))
SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", True, (), ("cm",))
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", True, (), ("sa",))
EVENTS = Resource("", "v1", "events", "Event", True, (), ("ev",))
NODES = Resource("", "v1", "nodes", "Node", False, ("status",), ("no",))
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", True, ("status", "scale"), ("deploy",))
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", True, ("status", "scale"), ("rs",))
AUTOSCALERS = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, ("status",), ("hpa",)
)
DISRUPTION_BUDGETS = Resource(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("status",), ("pdb",)
)
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False, ("status",), ("crd",)
)
POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", verbs=("get", "list"))

BUILT_IN = (
    NAMESPACES, PODS, SERVICES, SECRETS, CONFIG_MAPS, SERVICE_ACCOUNTS, EVENTS, NODES, DEPLOYMENTS, REPLICA_SETS,
    AUTOSCALERS, DISRUPTION_BUDGETS, ENDPOINT_SLICES, DEFINITIONS,
)  # fmt: skip


class Catalog:
    """All kinds that are served now. `definitions` gives the CRDs there are."""

    def __init__(self, definitions: Callable[[], Iterable[dict[str, Any]]], *, metrics: bool) -> None:
        self._definitions = definitions
        self.metrics = metrics

    def all(self) -> list[Resource]:
        """The built-in kinds, then those of CRDs; those of metrics.k8s.io where they are served."""
        custom = [resource for definition in self._definitions() for resource in of_definition(definition)]
        return [*BUILT_IN, *([POD_METRICS] if self.metrics else []), *custom]

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        for resource in self.all():
            if (resource.group, resource.version, resource.plural) == (group, version, plural):
                return resource
        return None

    def kind(self, api_version: str, kind: str) -> Resource:
        """Raises LookupError."""
        for resource in self.all():
            if (resource.api_version, resource.kind) == (api_version, kind):
                return resource
        raise LookupError(f'no matches for kind "{kind}" in version "{api_version}"')


def of_definition(definition: dict[str, Any]) -> Iterable[Resource]:
    """The kinds a CRD makes known: one for each version."""
    spec = definition["spec"]
    for version in spec["versions"]:
        if version.get("served", True):
            yield Resource(
                spec["group"], version["name"], spec["names"]["plural"], spec["names"]["kind"],
                spec.get("scope") == "Namespaced", tuple(version.get("subresources", {})),
                tuple(spec["names"].get("shortNames", [])), custom=True,
            )  # fmt: skip
