"""The published schemas of the kinds (of PyPI's kubernetes-validate, and of CRDs), and how a value fails them."""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]

from tests.support.kubernetes import quantities
from tests.support.kubernetes.resources import Resource

Json = dict[str, Any]
Node = dict[str, Any]

KUBERNETES_VERSION = "1.37.0"
_ANY: Node = {}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_JSON_TYPES: dict[type, str] = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    dict: "object",
    list: "array",
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "object": (dict,),
    "array": (list,),
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """What is wrong at `path` ("spec.replicas"), in words: `kind` is unknown, type, required, enum or malformed."""

    kind: str
    path: str
    said: str


@functools.cache
def _definitions() -> dict[str, Node]:
    path = f"kubernetes-json-schema/v{KUBERNETES_VERSION}-local-strict/_definitions.json"
    found: dict[str, Node] = kubernetes_validate.utils.schema_contents(path, KUBERNETES_VERSION)["$defs"]
    return found


@functools.cache
def _by_kind() -> dict[tuple[str, str, str], str]:
    return {
        (one["group"], one["version"], one["kind"]): name
        for name, node in _definitions().items() for one in node.get("x-kubernetes-group-version-kind", [])
    }  # fmt: skip


@functools.cache
def _named(name: str) -> Node:
    return {**_definitions()[name], "name": name}


def resolved(node: Node) -> Node:
    """What `$ref` names, with the extensions that stand beside it."""
    reference = node.get("$ref")
    if reference is None:
        return node
    found = _named(reference.rpartition("/")[2])
    beside = {key: value for key, value in node.items() if key.startswith("x-kubernetes")}
    return {**found, **beside} if beside else found


def built_in(resource: Resource) -> Node:
    """Of a kind that is not of a CRD."""
    return _named(_by_kind()[resource.group, resource.version, resource.kind])


def custom(definition: Json, version: str) -> Node:
    """Of a CRD's version, with the fields all objects have."""
    served = next(one for one in definition["spec"]["versions"] if one["name"] == version)
    schema = (served.get("schema") or {}).get("openAPIV3Schema") or {}
    common = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _named(_META)}
    return {**schema, "properties": {**schema.get("properties", {}), **common}}


def child(node: Node, name: str) -> Node | None:
    """The schema of a field; None for one that is not declared."""
    node = resolved(node)
    properties = node.get("properties")
    if properties and name in properties:
        return resolved(properties[name])
    additional = node.get("additionalProperties")
    if isinstance(additional, dict):
        return resolved(additional)
    if properties and not node.get("x-kubernetes-preserve-unknown-fields"):
        return None
    return _ANY


def items(node: Node) -> Node:
    """The schema of a list's items."""
    return resolved(resolved(node).get("items") or _ANY)


def fill_defaults(value: Any, node: Node) -> None:
    """Sets, in place, what a CRD's schema says of fields that are not there."""
    node = resolved(node)
    if isinstance(value, dict):
        for name, field in (node.get("properties") or {}).items():
            if name not in value and "default" in field:
                value[name] = field["default"]
        for name, one in value.items():
            fill_defaults(one, child(node, name) or _ANY)
    elif isinstance(value, list):
        for one in value:
            fill_defaults(one, items(node))


def without_nulls(value: Any) -> Any:
    """A copy in which a field that is null is not there, as the server reads it."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [without_nulls(one) for one in value]
    return value


def problems(value: Any, node: Node, path: str = "") -> Iterator[Problem]:
    """All that is wrong with `value`. Quantities are brought into their one form, unknown fields dropped, in place."""
    node = resolved(node)
    if (wrong := _type_problem(value, node, path)) is not None:
        yield wrong
    elif isinstance(value, dict):
        yield from _of_fields(value, node, path)
    elif isinstance(value, list):
        below = items(node)
        for index, one in enumerate(value):
            if below.get("name") == _QUANTITY:
                value[index] = quantities.canonical(one)
            yield from problems(one, below, f"{path}[{index}]")
    elif "enum" in node and value not in node["enum"] and value is not None:
        supported = ", ".join(f'"{one}"' for one in node["enum"])
        yield Problem("enum", path, f'Unsupported value: "{value}": supported values: {supported}')
    elif node.get("format") == "byte" and (said := _not_base64(value)):
        yield Problem("malformed", path, said)


def _of_fields(value: Json, node: Node, path: str) -> Iterator[Problem]:
    for name in list(value):
        here = f"{path}.{name}" if path else name
        below = child(node, name)
        if below is None:
            del value[name]
            yield Problem("unknown", here, f'unknown field "{here}"')
            continue
        if below.get("name") == _QUANTITY and isinstance(value[name], str | int | float):
            try:
                value[name] = quantities.canonical(value[name])
            except ValueError as error:
                yield Problem("malformed", here, str(error))
                continue
        yield from problems(value[name], below, here)
    for name in node.get("required", []):
        if value.get(name) is None:
            yield Problem("required", f"{path}.{name}" if path else name, "Required value")


def _type_problem(value: Any, node: Node, path: str) -> Problem | None:
    if value is None or node.get("x-kubernetes-int-or-string"):
        return None
    types: list[str] = []
    for one in [node, *node.get("oneOf", [])]:
        declared = one.get("type", [])
        types += [declared] if isinstance(declared, str) else declared
    types = [one for one in types if one != "null"]
    if not types or any(_is(value, one) for one in types):
        return None
    expected = "numeric (int or float)" if {"integer", "number"} & {*types} else " or ".join(types)
    return Problem("type", path, f"expected {expected}, got {_JSON_TYPES.get(type(value), 'string')}")


def _is(value: Any, declared: str) -> bool:
    return isinstance(value, _PYTHON_TYPES[declared]) and (declared == "boolean" or not isinstance(value, bool))


def _not_base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
        at = next((index for index, letter in enumerate(value) if letter not in alphabet), len(value))
        return f"illegal base64 data at input byte {at}"
    return ""
