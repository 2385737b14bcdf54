"""What a cluster's refusals mean, as errors of the mesh. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy_svc.kubernetes.kinds import SPIN_APP, Kind
from deploy_svc.kubernetes.names import MANAGER
from mesh.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    MeshError,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from mesh.loops import Backoff

EXPIRED = "CLUSTER_EXPIRED"
_RBAC = re.compile(r'User "[^"]*" cannot ')
_LONGEST_WAIT_S = 60.0
_TEXT = 500
_REPLICAS = ".spec.replicas"
_AUTOSCALES = "kube-controller-manager"
_CONFLICT = re.compile(r'conflicts? with "(?P<manager>[^"]+)"')


@dataclass(frozen=True, slots=True)
class Asked:
    """A call: what was to be done with what, and where."""

    verb: str
    kind: Kind
    namespace: str = ""
    name: str = ""

    @property
    def shown(self) -> str:
        """`Deployment 'hello' in namespace 'default'`."""
        what = f"{self.kind.name} '{self.name}'" if self.name else self.kind.plural
        return f"{what} in namespace '{self.namespace}'" if self.namespace else what


def no_answer(context: str, detail: str) -> Unavailable:
    """The cluster was not reached, or not in time."""
    return Unavailable("CLUSTER_UNAVAILABLE", f"The cluster of context '{context}' does not answer: {detail}.")


def namespace_missing(namespace: str) -> NotFound:
    """A namespace that is not there."""
    return NotFound("NAMESPACE_NOT_FOUND", f"Namespace '{namespace}' not found", namespace=namespace)


def spinkube_missing() -> FailedPrecondition:
    """There is no operator for Spin components."""
    return FailedPrecondition(
        "SPINKUBE_NOT_INSTALLED",
        "SpinKube is not installed on this cluster: install cert-manager, the SpinKube CRDs and runtime class, and the "
        "spin-operator (spinkube.dev/docs/install), or build the function for containers.",
    )


def refusal(
    status: int, body: bytes, asked: Asked, context: str, headers: Mapping[str, str] | None = None
) -> MeshError:
    """The error that an answer of `status` (400 and up) is."""
    told = _status(body)
    message = str(told.get("message") or body[:_TEXT].decode(errors="replace").strip() or f"status {status}")[:_TEXT]
    if status == 401:
        return FailedPrecondition(
            "CLUSTER_UNAUTHENTICATED",
            f"The cluster of context '{context}' does not accept deploy_svc's credentials: renew the token or "
            "certificate in its kubeconfig (FNMESH_DEPLOY_KUBECONFIG).",
        )
    if status == 403:
        return _forbidden(message, asked, context)
    if status == 404:
        if asked.kind is SPIN_APP and not told:
            return spinkube_missing()
        return NotFound("OBJECT_NOT_FOUND", f"There is no {asked.shown} on the cluster of context '{context}'.")
    if status == 409:
        return _conflict(told, message, asked)
    if status in (400, 415, 422):
        return InvalidArgument("MANIFEST_REFUSED", f"The cluster refuses the {asked.shown}: {message}")
    if status == 410:
        return Unavailable(EXPIRED, f"The cluster of context '{context}' has forgotten what was asked for: {message}")
    if status == 429 or status >= 500:
        return Unavailable(
            "CLUSTER_FAILED",
            f"The cluster of context '{context}' failed ({status}): {message}",
            retry_after_s=_retry_after_s(headers or {}),
        )
    return FailedPrecondition("CLUSTER_REFUSED", f"The cluster refuses to {asked.verb} the {asked.shown}: {message}")


def _status(body: bytes) -> dict[str, Any]:
    """The Status object that errors of the API are; empty for anything else, such as a path that is not served."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _forbidden(message: str, asked: Asked, context: str) -> MeshError:
    if not _RBAC.search(message):  # but admission: a quota, a webhook, a namespace that ends
        return FailedPrecondition("CLUSTER_REFUSED", f"The cluster refuses the {asked.shown}: {message}")
    resource = f"{asked.kind.plural}.{asked.kind.group}" if asked.kind.group else asked.kind.plural
    where = f" in namespace '{asked.namespace}'" if asked.namespace else ""
    return PermissionDenied(
        "CLUSTER_FORBIDDEN",
        f"deploy_svc may not {asked.verb} {resource}{where} on the cluster of context '{context}': give its account "
        "that verb by a Role or ClusterRole (docs/kubernetes.md lists all that it needs).",
        verb=asked.verb,
        resource=resource,
    )


def _conflict(told: Mapping[str, Any], message: str, asked: Asked) -> MeshError:
    causes = (told.get("details") or {}).get("causes") or []
    fields = [str(one.get("field", "")) for one in causes if one.get("field")]
    managers = {found["manager"] for one in [message, *(str(c.get("message", "")) for c in causes)]
                if (found := _CONFLICT.search(one)) is not None}  # fmt: skip
    if managers:
        what = ", ".join(fields) or "some fields"
        return Aborted(
            "FIELD_CONFLICT",
            f"{', '.join(sorted(managers))} has set {what} of the {asked.shown}, which the mesh would set too: take "
            f"{'them' if len(fields) != 1 else 'it'} out there, or name another app_name.",
            managers=",".join(sorted(managers)),
            paths=",".join(sorted(set(fields))),
        )
    return Unavailable("CLUSTER_BUSY", f"The {asked.shown} was changed by somebody else at the same time: {message}")


def may_take_back(error: MeshError, *, was_autoscaled: bool) -> bool:
    """Whether what an apply was refused for is nothing but the number of pods, which we or our own autoscaler set."""
    if error.reason != "FIELD_CONFLICT" or error.metadata.get("paths") != _REPLICAS:
        return False
    ours = {MANAGER, _AUTOSCALES} if was_autoscaled else {MANAGER}
    return set(error.metadata["managers"].split(",")) <= ours


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    told = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return float(told) if told.isdecimal() else None


def wait_s(backoff: Backoff, failures: int, error: Exception | None) -> float:
    """How long to wait before the next try: not less than the cluster asks for, if that is bearable."""
    asked_for = error.retry_after_s if isinstance(error, MeshError) else None
    return max(backoff.delay_s(failures), min(asked_for or 0.0, _LONGEST_WAIT_S))
