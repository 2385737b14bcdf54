"""What the server refuses (422) in a pod's spec though the schema allows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.kubernetes import names, quantities, scheduling_rules
from tests.support.kubernetes.names import invalid_value, one_of, required
from tests.support.kubernetes.statuses import Cause

Json = dict[str, Any]

PROTOCOLS = ("SCTP", "TCP", "UDP")
_SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")


def broken(at: str, spec: Json) -> Iterator[Cause]:
    """Every rule it breaks; `at` is where the spec stands in its object."""
    containers = spec.get("containers") or []
    if not containers:
        yield required(f"{at}.containers")
    volumes = {volume["name"] for volume in spec.get("volumes") or []}
    for index, volume in enumerate(spec.get("volumes") or []):
        yield from names.label(f"{at}.volumes[{index}].name", volume["name"])
    seen: set[str] = set()
    grace = spec.get("terminationGracePeriodSeconds", 0)
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or []):
            here = f"{at}.{kind}[{index}]"
            if container["name"] in seen:
                said = f'Duplicate value: "{container["name"]}"'
                yield Cause(f"{here}.name", said, "FieldValueDuplicate")
            seen.add(container["name"])
            yield from _container(here, container, volumes)
            yield from _life(here, container, grace)
    if grace < 0:
        yield invalid_value(f"{at}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0")
    context = spec.get("securityContext") or {}
    if "seccompProfile" in context:
        yield from one_of(f"{at}.securityContext.seccompProfile.type", context["seccompProfile"]["type"], _SECCOMP)
    yield from scheduling_rules.broken(at, spec)


def _container(at: str, container: Json, volumes: set[str]) -> Iterator[Cause]:
    yield from names.label(f"{at}.name", container["name"])
    image = container.get("image", "")
    if not image:
        yield required(f"{at}.image")
    elif image != image.strip():
        yield invalid_value(f"{at}.image", image, "must not have leading or trailing whitespace")
    for index, found in enumerate(container.get("ports") or []):
        yield from port(f"{at}.ports[{index}].containerPort", found["containerPort"])
        yield from one_of(f"{at}.ports[{index}].protocol", found["protocol"], PROTOCOLS)
        if found.get("name"):
            yield from names.label(f"{at}.ports[{index}].name", found["name"], 15)
    for index, variable in enumerate(container.get("env") or []):
        if not variable.get("name"):
            yield required(f"{at}.env[{index}].name")
        elif "=" in variable["name"]:
            said = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            yield invalid_value(f"{at}.env[{index}].name", variable["name"], said)
        if variable.get("value") and variable.get("valueFrom"):
            said = "may not be specified when `value` is not empty"
            yield invalid_value(f"{at}.env[{index}].valueFrom", "", said)
    mounted: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount["name"] not in volumes:
            said = f'Not found: "{mount["name"]}"'
            yield Cause(f"{at}.volumeMounts[{index}].name", said, "FieldValueNotFound")
        if mount["mountPath"] in mounted:
            yield invalid_value(f"{at}.volumeMounts[{index}].mountPath", mount["mountPath"], "must be unique")
        mounted.add(mount["mountPath"])
    yield from one_of(f"{at}.imagePullPolicy", container["imagePullPolicy"], ("Always", "IfNotPresent", "Never"))
    yield from one_of(f"{at}.terminationMessagePolicy", container["terminationMessagePolicy"], _MESSAGE_POLICIES)
    yield from _resources(f"{at}.resources", container.get("resources") or {})


def _life(at: str, container: Json, grace: int) -> Iterator[Cause]:
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        here = f"{at}.{name}"
        if not any(handler in probe for handler in _HANDLERS):
            yield required(here, "must specify a handler type")
        for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold"):
            if probe.get(key, 0) < 0:
                yield invalid_value(f"{here}.{key}", probe[key], "must be greater than or equal to 0")
        if name != "readinessProbe" and probe["successThreshold"] != 1:
            yield invalid_value(f"{here}.successThreshold", probe["successThreshold"], "must be 1")
    slept = ((container.get("lifecycle") or {}).get("preStop") or {}).get("sleep")
    if slept is not None and not 0 <= slept["seconds"] <= grace:
        said = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        yield invalid_value(f"{at}.lifecycle.preStop.sleep", slept["seconds"], said)


def _resources(at: str, resources: Json) -> Iterator[Cause]:
    limits = resources.get("limits") or {}
    for name, wanted in (resources.get("requests") or {}).items():
        if name in limits and quantities.amount(wanted) > quantities.amount(limits[name]):
            said = f"must be less than or equal to {name} limit of {limits[name]}"
            yield invalid_value(f"{at}.requests", wanted, said)
    for kind in ("limits", "requests"):
        for name, wanted in (resources.get(kind) or {}).items():
            if quantities.amount(wanted) < 0:
                yield invalid_value(f"{at}.{kind}[{name}]", wanted, "must be greater than or equal to 0")


def port(field: str, number: int) -> Iterator[Cause]:
    """Of any port."""
    if not 1 <= number <= 65535:
        yield invalid_value(field, number, "must be between 1 and 65535, inclusive")
