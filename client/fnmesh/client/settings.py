"""Settings of a function, from flags, keyword arguments or `fnmesh.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from fnmesh.client.errors import SourceError
from fnmesh.client.units import parse_cpu, parse_duration, parse_memory
from fnmesh.registry.v1 import function_pb2 as pb

RUNTIMES = {"python": pb.RUNTIME_PYTHON, "node": pb.RUNTIME_NODE, "spin": pb.RUNTIME_SPIN}
TARGETS = {
    "process": pb.TARGET_PROCESS,
    "docker": pb.TARGET_DOCKER,
    "spin": pb.TARGET_SPIN,
    "kubernetes": pb.TARGET_KUBERNETES,
}
EVENT_FORMATS = {"v2": pb.EVENT_FORMAT_HTTP_V2, "body": pb.EVENT_FORMAT_BODY}
ACCESS = {"public": pb.ACCESS_PUBLIC, "key": pb.ACCESS_KEY}
_MOST_WHOLE = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class FunctionSettings:
    """What may be said about a function when it is deployed. None leaves it as it is, or at its default.

    memory: bytes or `256Mi`; cpu: `0.5`; timeout: `10s` or seconds; runtime: python | node | spin;
    target: process | docker | spin | kubernetes; event_format: v2 | body; access: public | key.
    `env` adds to the variables that are there, and replaces those of the same name.
    context (of the mesh's kubeconfig), namespace, app_name, service_account, use_spot, autoscaling and pull_secrets
    say how it is run on a cluster.
    """

    name: str | None = None
    workspace: str | None = None
    path: str | None = None
    methods: Sequence[str] | None = None
    description: str | None = None
    runtime: str | None = None
    target: str | None = None
    env: Mapping[str, str] | None = None
    memory: str | int | None = None
    cpu: str | float | None = None
    timeout: str | float | timedelta | None = None
    concurrency: int | None = None
    event_format: str | None = None
    access: str | None = None
    handler: str | None = None
    labels: Mapping[str, str] | None = None
    min_instances: int | None = None
    max_instances: int | None = None
    idle_ttl: str | float | timedelta | None = None
    context: str | None = None
    namespace: str | None = None
    app_name: str | None = None
    service_account: str | None = None
    use_spot: bool | None = None
    autoscaling: bool | None = None
    pull_secrets: Sequence[str] | None = None

    def over(self, base: FunctionSettings) -> FunctionSettings:
        """These settings, and where they say nothing those of `base`; env and labels are merged by key."""
        mine = {key: value for key, value in _set_fields(self).items() if value is not None}
        merged = {**_set_fields(base), **mine}
        for key in ("env", "labels"):
            if getattr(base, key) and getattr(self, key):
                merged[key] = {**getattr(base, key), **getattr(self, key)}
        return FunctionSettings(**merged)

    def to_function(self) -> tuple[pb.Function, list[str]]:
        """A Function with the fields that are set, and their update mask. Raises SourceError."""
        for key, value in _set_fields(self).items():
            _check_text(key, value)
        function, mask = pb.Function(), list[str]()

        def put(path: str, value: Any) -> None:
            if value is None:
                return
            head, _, tail = path.partition(".")
            setattr(getattr(function, head) if tail else function, tail or head, value)
            mask.append(path)

        put("path", self.path.removeprefix("/api/").strip("/") if self.path is not None else None)
        put("description", self.description)
        put("handler", self.handler)
        put("runtime", _choice("runtime", self.runtime, RUNTIMES))
        put("target", _choice("target", self.target, TARGETS))
        put("event_format", _choice("event_format", self.event_format, EVENT_FORMATS))
        put("access", _choice("access", self.access, ACCESS))
        put("limits.memory_bytes", None if self.memory is None else _some("memory", parse_memory(self.memory)))
        put("limits.cpu_millis", None if self.cpu is None else _some("cpu", parse_cpu(self.cpu)))
        put("limits.concurrency", _whole("concurrency", self.concurrency))
        put("scaling.min_instances", _whole("min_instances", self.min_instances, zero=True))
        put("scaling.max_instances", _whole("max_instances", self.max_instances))
        for name in ("context", "namespace", "app_name", "service_account", "use_spot", "autoscaling"):
            put(f"cluster.{name}", getattr(self, name))
        if self.pull_secrets is not None:
            function.cluster.image_pull_secrets.extend(self.pull_secrets)
            mask.append("cluster.image_pull_secrets")
        if self.timeout is not None:
            function.limits.timeout.FromTimedelta(parse_duration(self.timeout))
            mask.append("limits.timeout")
        if self.idle_ttl is not None:
            function.scaling.idle_ttl.FromTimedelta(parse_duration(self.idle_ttl))
            mask.append("scaling.idle_ttl")
        if self.methods is not None:
            function.methods.extend(method.upper() for method in self.methods)
            mask.append("methods")
        if self.labels is not None:
            function.labels.update(self.labels)
            mask.append("labels")
        for key, value in (self.env or {}).items():
            function.env[key] = value
            mask.append(f"env.{key}")
        return function, mask


def parse_settings_toml(text: str, where: str = "fnmesh.toml") -> FunctionSettings:
    """The settings in a `fnmesh.toml`. Raises SourceError naming every key it does not know."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{where} is not valid TOML: {error}.") from None
    table = {key.replace("-", "_"): value for key, value in table.items()}
    known = {field.name for field in fields(FunctionSettings)}
    unknown = sorted(set(table) - known)
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown)
        raise SourceError(f"{where} has settings that do not exist: {names}; there are {', '.join(sorted(known))}.")
    for key, value in table.items():
        _check_type(where, key, value)
    for key in ("env", "labels"):
        if key in table:
            table[key] = {name: _as_text(value) for name, value in table[key].items()}
    return FunctionSettings(**table)


_LISTS, _TABLES = {"methods", "pull_secrets"}, {"env", "labels"}
_SWITCHES = {"use_spot", "autoscaling"}
_WHOLE_NUMBERS = {"concurrency", "min_instances", "max_instances"}
_AMOUNTS = {"memory", "cpu", "timeout", "idle_ttl"}


def _check_type(where: str, key: str, value: object) -> None:
    if key in _LISTS:
        good, wanted = isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of texts"
    elif key in _TABLES:
        good = isinstance(value, dict) and not any(isinstance(v, dict | list) for v in value.values())
        wanted = "a table"
    elif key in _SWITCHES:
        good, wanted = isinstance(value, bool), "true or false"
    elif key in _WHOLE_NUMBERS:
        good, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif key in _AMOUNTS:
        good = isinstance(value, str | int | float) and not isinstance(value, bool)
        wanted = "a text or a number"
    else:
        good, wanted = isinstance(value, str), "a text"
    if not good:
        raise SourceError(f"'{key}' in {where} must be {wanted}.")


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _choice(field: str, value: str | None, choices: Mapping[str, Any]) -> Any:
    if value is None:
        return None
    if value not in choices:
        raise SourceError(f"'{value}' is not a {field.replace('_', ' ')}; there are {', '.join(choices)}.")
    return choices[value]


def _some(name: str, value: int) -> int:
    """The value. In a message zero stands for the default, which is not what somebody means who says 0."""
    if value == 0:
        raise SourceError(f"'{name}' is zero, or as good as zero; give more, or leave it out for the default.")
    return value


def _whole(name: str, value: int | None, *, zero: bool = False) -> int | None:
    """The value; one too large for a message as the largest there is: the mesh knows its limits, and says them."""
    if value is None:
        return None
    value = max(-_MOST_WHOLE, min(value, _MOST_WHOLE))
    return value if zero else _some(name, value)


def _check_text(name: str, value: Any) -> None:
    """Raises SourceError for text that is not UTF-8 (an argument or a name that was some other encoding)."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SourceError(f"'{name}' is not UTF-8; write it in UTF-8.") from None
    elif isinstance(value, Mapping):
        for key, text in value.items():
            _check_text(name, key)
            _check_text(f"{name}.{key}", text)
    elif isinstance(value, Sequence):
        for text in value:
            _check_text(name, text)


def _set_fields(settings: FunctionSettings) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in fields(settings)}
