"""What is kept of the objects that are watched: a few words of each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deploy_svc.kubernetes.app_spec import SPIN_PORT
from deploy_svc.kubernetes.names import (
    APPLIED,
    CONCURRENCY,
    CONTAINER,
    FUNCTION_LABEL,
    MANAGER,
    REVISION_LABEL,
    SECRET,
    TIMEOUT_MS,
)
from runtimes.catalog import PORT

Key = tuple[str, str]
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class Condition:
    """What a controller says of an object."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: datetime = _NEVER


@dataclass(frozen=True, slots=True)
class Held:
    """An object that is made of an app. `current`: its controller has seen the last change of it, as far as it tells;
    `written_at` is when the mesh last applied it.
    """

    kind: str
    namespace: str
    name: str
    function_uid: str
    version: int
    applied: str = ""
    secret: str = ""
    ending: bool = False
    current: bool = True
    written_at: datetime = _NEVER
    conditions: tuple[Condition, ...] = ()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name

    def condition(self, kind: str) -> Condition | None:
        """The condition of a type."""
        return next((one for one in self.conditions if one.type == kind), None)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended."""

    code: int
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of an app. `restarts` counts its container's; `running` since the last of them; `ended` the end of what
    ran before, or of what ran last.
    """

    namespace: str
    name: str
    function_uid: str
    version: int
    uid: str
    revision: int
    created_at: datetime
    container: str
    address: str = ""
    phase: str = ""
    ending: bool = False
    ready: bool = False
    restarts: int = 0
    running: bool = False
    waiting: str = ""
    message: str = ""
    ended: Ended | None = None
    unschedulable: str = ""
    concurrency: int = 0
    timeout_ms: int = 0
    memory: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing will run in it any more, as in one that was evicted."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Slice:
    """Which pods are behind a Service, and which of them are ready, by pod uid."""

    namespace: str
    name: str
    version: int
    pods: Mapping[str, bool]

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name


def held(found: Mapping[str, Any], kind: str) -> Held:
    """An object of an app."""
    metadata, status = found.get("metadata") or {}, found.get("status") or {}
    annotations = metadata.get("annotations") or {}
    seen = status.get("observedGeneration")
    return Held(
        kind=kind,
        **_identity(metadata),
        applied=annotations.get(APPLIED, ""),
        secret=annotations.get(SECRET, ""),
        ending=bool(metadata.get("deletionTimestamp")),
        current=kind != "Deployment" or (seen is not None and int(seen) >= int(metadata.get("generation") or 0)),
        written_at=max((_time(one.get("time")) for one in _applied(metadata)), default=_NEVER),
        conditions=tuple(_condition(one) for one in status.get("conditions") or ()),
    )


def pod(found: Mapping[str, Any]) -> Pod:
    """A pod."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    containers = spec.get("containers") or [{}]
    container = next((one for one in containers if one.get("name") == CONTAINER), containers[0])
    name = str(container.get("name", ""))
    about: Mapping[str, Any] = next(
        (one for one in status.get("containerStatuses") or () if one.get("name") == name), {}
    )
    state = about.get("state") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or (about.get("lastState") or {}).get("terminated")
    conditions = {one.type: one for one in map(_condition, status.get("conditions") or ())}
    scheduled = conditions.get("PodScheduled", Condition("PodScheduled", "True"))
    ready = conditions.get("Ready")
    port = PORT if name == CONTAINER else SPIN_PORT
    ip = str(status.get("podIP") or "")
    return Pod(
        **_identity(metadata),
        uid=str(metadata.get("uid", "")),
        revision=_number(labels.get(REVISION_LABEL)),
        created_at=_time(metadata.get("creationTimestamp")),
        container=name,
        address=(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}") if ip else "",
        phase=str(status.get("phase", "")),
        ending=bool(metadata.get("deletionTimestamp")),
        ready=ready is not None and ready.status == "True",
        restarts=int(about.get("restartCount") or 0),
        running="running" in state,
        waiting=str(waiting.get("reason", "")),
        message=str(waiting.get("message") or status.get("message") or "")[:_MESSAGE],
        ended=_ended(ended) if ended else None,
        unschedulable=scheduled.message if scheduled.reason == "Unschedulable" else "",
        concurrency=_number(annotations.get(CONCURRENCY)),
        timeout_ms=_number(annotations.get(TIMEOUT_MS)),
        memory=str(((container.get("resources") or {}).get("limits") or {}).get("memory", "")),
    )


def endpoint_slice(found: Mapping[str, Any]) -> Slice:
    """An EndpointSlice."""
    pods: dict[str, bool] = {}
    for one in found.get("endpoints") or ():
        reference = one.get("targetRef") or {}
        if reference.get("kind") == "Pod" and reference.get("uid"):
            ready = (one.get("conditions") or {}).get("ready")
            pods[str(reference["uid"])] = ready is not False  # what is not said counts as ready
    identity = _identity(found["metadata"])
    return Slice(identity["namespace"], identity["name"], identity["version"], pods)


def _identity(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "namespace": str(metadata.get("namespace", "")),
        "name": str(metadata.get("name", "")),
        "function_uid": str((metadata.get("labels") or {}).get(FUNCTION_LABEL, "")),
        "version": _number(metadata.get("resourceVersion")),
    }


def _condition(found: Mapping[str, Any]) -> Condition:
    kind, status, reason, message = (
        str(found.get(name) or "")[:_MESSAGE] for name in ("type", "status", "reason", "message")
    )
    return Condition(kind, status, reason, message, _time(found.get("lastTransitionTime")))


def _applied(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in metadata.get("managedFields") or () if one.get("manager") == MANAGER]


def _ended(found: Mapping[str, Any]) -> Ended:
    message = str(found.get("message") or "").strip()
    return Ended(int(found.get("exitCode") or 0), str(found.get("reason", "")), message[-_MESSAGE:])


def _number(text: Any) -> int:
    return int(text) if str(text or "").isdecimal() else 0


def _time(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).astimezone(UTC)
    except ValueError:
        return _NEVER
