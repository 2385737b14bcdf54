"""Between the API's messages and what older clients call the same things."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from fnmesh.registry.v1 import function_pb2
from mesh.errors import InvalidArgument

DEFAULT_WORKSPACE = "workspaces/ws-default"
ANY_METHOD = "ANY"
CodeType = Literal["python", "node", "spin", "image", "unknown"]

_RUNTIMES: dict[int, CodeType] = {
    function_pb2.RUNTIME_PYTHON: "python",
    function_pb2.RUNTIME_NODE: "node",
    function_pb2.RUNTIME_SPIN: "spin",
    function_pb2.RUNTIME_IMAGE: "image",
}
_TARGETS = {
    "docker": function_pb2.TARGET_DOCKER,
    "process": function_pb2.TARGET_PROCESS,
    "spin": function_pb2.TARGET_SPIN,
    "k8s": function_pb2.TARGET_KUBERNETES,
    "kubernetes": function_pb2.TARGET_KUBERNETES,
}
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9_-]+")


def time_of(stamp: Timestamp) -> str:
    """A time as text, RFC 3339 in UTC."""
    return str(stamp.ToJsonString())


def type_of(runtime: int) -> CodeType:
    """The word for a runtime."""
    return _RUNTIMES.get(runtime, "unknown")


def runtime_of(word: str) -> function_pb2.Runtime.ValueType:
    """The runtime that a word means: `python`, `python3.12`, `nodejs20.x`, ... InvalidArgument (RUNTIME_INVALID)."""
    lower = word.lower()
    if lower.startswith("python"):
        return function_pb2.RUNTIME_PYTHON
    if lower.startswith("node"):
        return function_pb2.RUNTIME_NODE
    if lower in ("spin", "wasm"):
        return function_pb2.RUNTIME_SPIN
    message = f"'{word[:40]}' is no runtime; use python, node or spin."
    raise InvalidArgument("RUNTIME_INVALID", message, fields={"runtime": message})


def target_of(word: str) -> function_pb2.Target.ValueType:
    """The target that a word of older clients means; it was checked before."""
    return _TARGETS[word]


def methods_of(method: str) -> list[str]:
    """The methods that a callback's `method` means; none stands for all."""
    found = [one.strip().upper() for one in method.split(",") if one.strip()]
    return [] if ANY_METHOD in found else found


def method_of(methods: Sequence[str]) -> str:
    """A callback's `method`."""
    return ",".join(methods) or ANY_METHOD


def name_for(path: str, attempt: int = 1) -> str:
    """A function's name made from its path; another one for each attempt."""
    slug = _NOT_IN_A_NAME.sub("-", path.lower()).strip("-_").removeprefix("fn-")[:55] or "callback"
    return slug if attempt == 1 else f"{slug}-{attempt}"
