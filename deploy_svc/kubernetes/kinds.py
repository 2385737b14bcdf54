"""The kinds of objects that are dealt with, and where the API has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: `group` is empty for the core ones."""

    name: str
    plural: str
    version: str = "v1"
    group: str = ""

    @property
    def api_version(self) -> str:
        """As manifests have it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of one object, of all in a namespace, or of all there are."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{place}/{self.plural}" + (f"/{name}" if name else "")


NAMESPACE = Kind("Namespace", "namespaces")
POD = Kind("Pod", "pods")
SECRET = Kind("Secret", "secrets")
SERVICE = Kind("Service", "services")
DEPLOYMENT = Kind("Deployment", "deployments", group="apps")
SPIN_APP = Kind("SpinApp", "spinapps", "v1alpha1", "core.spinkube.dev")
AUTOSCALER = Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", "v2", "autoscaling")
BUDGET = Kind("PodDisruptionBudget", "poddisruptionbudgets", group="policy")
ENDPOINTS = Kind("EndpointSlice", "endpointslices", group="discovery.k8s.io")

APPLIED_KINDS = (DEPLOYMENT, SPIN_APP, SERVICE, AUTOSCALER, BUDGET)
"""What is made of an app and watched. Secrets are made and not watched: that would take leave to read all of them."""
BY_NAME = {kind.name: kind for kind in (*APPLIED_KINDS, SECRET)}
