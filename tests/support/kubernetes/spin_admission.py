"""What the SpinKube operator's webhook says of a SpinApp before it is stored."""

from __future__ import annotations

from typing import Any

from tests.support.kubernetes import statuses
from tests.support.kubernetes.names import invalid_value
from tests.support.kubernetes.resources import Resource
from tests.support.kubernetes.statuses import ApiError, Cause

Json = dict[str, Any]

EXECUTOR = "containerd-shim-spin"


class SpinAdmission:
    """`executors_in` are the namespaces where there is an executor; None means that every namespace has one."""

    def __init__(self) -> None:
        self.executors_in: set[str] | None = None

    def require(self, resource: Resource, app: Json) -> None:
        """Raises ApiError 422."""
        causes = self._causes(app)
        if causes:
            refused = statuses.invalid(resource, app["metadata"]["name"], causes)
            message = f'admission webhook "vspinapp.kb.io" denied the request: {refused.message}'
            raise ApiError(422, "Invalid", message, details=refused.status["details"])

    def _causes(self, app: Json) -> list[Cause]:
        spec, causes = app["spec"], []
        there = self.executors_in is None or app["metadata"]["namespace"] in self.executors_in
        if not spec["executor"]:
            said = "executor must be set, likely no default executor was set because you have no executors installed"
            causes.append(invalid_value("spec.executor", "", said))
        elif spec["executor"] != EXECUTOR or not there:
            causes.append(invalid_value("spec.executor", spec["executor"], "executor does not exist in namespace"))
        replicas = spec.get("replicas", 0)
        if spec.get("enableAutoscaling") and replicas != 0:
            said = "replicas cannot be set when autoscaling is enabled"
            causes.append(invalid_value("spec.replicas", replicas, said))
        if not spec.get("enableAutoscaling") and replicas < 1:
            causes.append(invalid_value("spec.replicas", replicas, "replicas must be > 0"))
        return causes
