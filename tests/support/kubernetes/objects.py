"""From what a client sends to what is stored: decoding, the metadata the server keeps, defaults, validation."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.support.kubernetes import defaults, fields, rules, schemas, statuses
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.names import required
from tests.support.kubernetes.resources import DEFINITIONS, Resource
from tests.support.kubernetes.schemas import Node
from tests.support.kubernetes.statuses import Cause, bad_request
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import ClusterClock, stamp

Json = dict[str, Any]

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_COUNTED = {"Deployment", "ReplicaSet", "PodDisruptionBudget", "EndpointSlice", "Pod"}
_KEPT = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "namespace",
    "name",
)


@dataclass
class Options:
    """What a write says besides its body; `warnings` is what the answer warns of."""

    manager: str = "unknown"
    dry_run: bool = False
    force: bool = False
    field_validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)


def random_suffix() -> str:
    """As the server ends a generated name."""
    return "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))


class Objects:
    """Makes things fit to be stored. Raises ApiError as the server does."""

    def __init__(self, storage: Storage, clock: ClusterClock) -> None:
        self._storage = storage
        self._clock = clock
        self._addresses = 0

    def node(self, resource: Resource) -> Node:
        """The schema of a kind."""
        if not resource.custom:
            return schemas.built_in(resource)
        definition = self._storage.find(DEFINITIONS, "", resource.qualified)
        assert definition is not None
        return schemas.custom(definition, resource.version)

    def decoded(self, resource: Resource, namespace: str, name: str, body: Any, options: Options) -> Json:
        """A copy of `body` that belongs at that path; `name` is empty where the body names the thing."""
        thing = self._typed(resource, body)
        self.check(resource, thing, options)
        self._place(resource, namespace, name, thing)
        return thing

    def configuration(self, resource: Resource, namespace: str, name: str, body: Any) -> Json:
        """`decoded`, of what is applied: it need not be whole, and no field may be unknown."""
        thing = self._typed(resource, body)
        for problem in schemas.problems(thing, self.node(resource)):
            if problem.kind == "required":
                continue
            if problem.kind not in ("unknown", "type"):
                self.check(resource, clone(thing), Options())
            said = "field not declared in schema" if problem.kind == "unknown" else problem.said
            raise _not_typed(resource, namespace, name, f".{problem.path}: {said}")
        if (path := fields.duplicate(thing, self.node(resource))) is not None:
            said = f"{fields.written(path[:-1])}: duplicate entries for key {fields.written(path[-1:])}"
            raise _not_typed(resource, namespace, name, said)
        self._place(resource, namespace, name, thing)
        return thing

    def _typed(self, resource: Resource, body: Any) -> Json:
        if not isinstance(body, dict):
            raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
        thing: Json = schemas.without_nulls(body)
        for key, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
            if thing.setdefault(key, expected) != expected:
                version = thing.get("apiVersion", resource.api_version)
                of_group = version if "/" in version else f"/{version}"
                raise bad_request(f"invalid object type: {of_group}, Kind={thing.get('kind', resource.kind)}")
        return thing

    def _place(self, resource: Resource, namespace: str, name: str, thing: Json) -> None:
        metadata = thing.setdefault("metadata", {})
        if resource.namespaced and metadata.setdefault("namespace", namespace) != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if not resource.namespaced:
            metadata.pop("namespace", None)
        if name and metadata.setdefault("name", name) != name:
            said = f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            raise bad_request(said)
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                cause = required("metadata.name", "name or generateName is required")
                raise statuses.invalid(resource, "", [cause])
            metadata["name"] = metadata["generateName"] + random_suffix()

    def check(self, resource: Resource, thing: Json, options: Options) -> None:
        """By the schema: 400 for what cannot be read, 422 for what is missing, a warning (or 400) for the unknown."""
        causes: list[Cause] = []
        for problem in schemas.problems(thing, self.node(resource)):
            if problem.kind == "unknown":
                if options.field_validation == "Strict":
                    raise bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a '
                                      f"{resource.kind}: strict decoding error: {problem.said}")  # fmt: skip
                if options.field_validation == "Warn":
                    options.warnings.append(problem.said)
            elif problem.kind == "required":
                causes.append(required(problem.path))
            elif problem.kind == "enum":
                causes.append(Cause(problem.path, problem.said, "FieldValueNotSupported"))
            elif resource.custom and problem.kind == "type":
                said = f"Invalid value: {problem.said}"
                causes.append(Cause(problem.path, said, "FieldValueTypeInvalid"))
            else:
                at = f"{problem.path}: " if problem.path else ""
                raise bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a '
                                  f"{resource.kind}: {at}{problem.said}")  # fmt: skip
        if causes:
            raise statuses.invalid(resource, (thing.get("metadata") or {}).get("name", ""), causes)

    def made(self, resource: Resource, thing: Json) -> Json:
        """Of a decoded thing that is new."""
        now = clone(thing)
        metadata = now["metadata"]
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "selfLink", "generation"):
            metadata.pop(name, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = stamp(self._clock.now())
        if resource.custom or resource.kind in _COUNTED:
            metadata["generation"] = 1
        if resource.has_status:
            now.pop("status", None)
        self._fill(resource, now)
        if resource.kind == "Service":
            self._give_address(now)
        self._validate(resource, now, None)
        return now

    def changed(self, resource: Resource, before: Json, thing: Json, *, subresource: str = "") -> Json:
        """Of a decoded thing that is to stand where `before` stands."""
        now = clone(thing)
        if subresource == "status":
            now = clone({**before, "status": now.get("status") or {}})
        elif resource.has_status:
            now.pop("status", None)
            if "status" in before:
                now["status"] = clone(before["status"])
        for name in _KEPT:
            now["metadata"].pop(name, None)
            if name in before["metadata"]:
                now["metadata"][name] = before["metadata"][name]
        if resource.kind == "Service" and not now["spec"].get("clusterIP"):
            for name in ("clusterIP", "clusterIPs"):
                if name in before["spec"]:
                    now["spec"][name] = before["spec"][name]
        self._fill(resource, now)
        if "generation" in before["metadata"] and _asked(before) != _asked(now):
            now["metadata"]["generation"] = before["metadata"]["generation"] + 1
        if subresource != "status":
            self._validate(resource, now, before)
        return now

    def _fill(self, resource: Resource, thing: Json) -> None:
        if resource.custom:
            schemas.fill_defaults(thing, self.node(resource))
        else:
            defaults.fill(thing)

    def _validate(self, resource: Resource, now: Json, before: Json | None) -> None:
        if causes := rules.broken(now, before):
            raise statuses.invalid(resource, now["metadata"]["name"], causes)

    def _give_address(self, service: Json) -> None:
        spec = service["spec"]
        if spec["type"] != "ExternalName" and "clusterIP" not in spec:
            self._addresses += 1
            spec["clusterIP"] = f"10.96.{self._addresses // 250}.{self._addresses % 250 + 1}"
        if "clusterIP" in spec:
            spec["clusterIPs"] = [spec["clusterIP"]]


def _asked(thing: Json) -> Json:
    return {key: value for key, value in thing.items() if key not in ("metadata", "status", "apiVersion", "kind")}


def _not_typed(resource: Resource, namespace: str, name: str, said: str) -> statuses.ApiError:
    at = f"{namespace}/{name}; {resource.api_version}, Kind={resource.kind}"
    return statuses.ApiError(500, "", f"failed to create typed patch object ({at}): {said}")
