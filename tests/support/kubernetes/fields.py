"""Objects as sets of fields: which paths a value has, and how two values of a schema are merged or cut back.

A path is a tuple of steps as `managedFields` writes them: `f:spec`, `k:{"name":"app"}`, `v:"x"`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.support.kubernetes import schemas
from tests.support.kubernetes.schemas import Node

Path = tuple[str, ...]
Tree = dict[str, Any]

ITEM = object()
_EMPTIED = object()
_KEY_DEFAULTS = {"protocol": "TCP"}


def flat(value: Any, node: Node) -> dict[Path, Any]:
    """Every leaf of `value` by its path: scalars, atomic lists and maps, empty ones; items of keyed lists as ITEM."""
    found: dict[Path, Any] = {}

    def walk(path: Path, value: Any, node: Node) -> None:
        below = steps(value, node)
        if below is None or not below:
            if path:
                found[path] = value
            return
        for step, one, schema in below:
            if step.startswith("v:"):
                found[(*path, step)] = one
                continue
            if step.startswith("k:"):
                found[(*path, step)] = ITEM
            walk((*path, step), one, schema)

    walk((), value, node)
    return found


def steps(value: Any, node: Node) -> list[tuple[str, Any, Node]] | None:
    """What is one step below `value`, or None if it is a leaf: one that is owned as a whole."""
    if isinstance(value, dict):
        if node.get("x-kubernetes-map-type") == "atomic":
            return None
        return [(f"f:{name}", one, schemas.child(node, name) or {}) for name, one in value.items()]
    if isinstance(value, list):
        below = schemas.items(node)
        match node.get("x-kubernetes-list-type"):
            case "map":
                return [(_key(one, node), one, below) for one in value]
            case "set":
                return [(f"v:{json.dumps(one)}", one, below) for one in value]
    return None


def _key(item: Any, node: Node) -> str:
    names = node["x-kubernetes-list-map-keys"]
    keys = {name: item.get(name, _KEY_DEFAULTS.get(name)) for name in names}
    present = {name: value for name, value in sorted(keys.items()) if value is not None}
    return f"k:{json.dumps(present, separators=(',', ':'))}"


def duplicate(value: Any, node: Node) -> Path | None:
    """A path that `value` has twice: an item of a keyed list, or of a set."""
    seen: set[str] = set()
    for step, one, schema in steps(value, node) or ():
        if step in seen:
            return (step,)
        seen.add(step)
        if (below := duplicate(one, schema)) is not None:
            return (step, *below)
    return None


def merged(live: Any, wanted: Any, node: Node) -> Any:
    """`live` with all that `wanted` says; keyed lists are merged item by item."""
    if isinstance(wanted, dict) and isinstance(live, dict) and node.get("x-kubernetes-map-type") != "atomic":
        result = dict(live)
        for name, one in wanted.items():
            result[name] = merged(live[name], one, schemas.child(node, name) or {}) if name in live else one
        return result
    if isinstance(wanted, list) and isinstance(live, list):
        kind = node.get("x-kubernetes-list-type")
        if kind == "set":
            return [*live, *(one for one in wanted if one not in live)]
        if kind == "map":
            below = schemas.items(node)
            found = {_key(one, node): one for one in live}
            for one in wanted:
                key = _key(one, node)
                found[key] = merged(found[key], one, below) if key in found else one
            return list(found.values())
    return wanted


def cut_back(value: Any, node: Node, last: Tree, owned: Tree) -> Any:
    """`value` without what is in `last` and has no owner any more: nothing at it, and nothing below it."""
    left = _cut(value, node, last, owned)
    return {} if left is _EMPTIED else left


def _cut(value: Any, node: Node, last: Tree, owned: Tree) -> Any:
    below = steps(value, node)
    if not below:
        return value
    kept: list[tuple[str, Any]] = []
    for step, one, schema in below:
        if step in last:
            if step not in owned:
                continue
            if last[step] and owned[step]:
                one = _cut(one, schema, last[step], owned[step])
                if one is _EMPTIED:
                    continue
        kept.append((step, one))
    if not kept:
        return _EMPTIED
    return {step[2:]: one for step, one in kept} if isinstance(value, dict) else [one for _, one in kept]


def tree(paths: Iterable[Path]) -> Tree:
    """Nested as far as the steps go."""
    root: Tree = {}
    for path in paths:
        here = root
        for step in path:
            here = here.setdefault(step, {})
    return root


def encoded(paths: Iterable[Path]) -> Tree:
    """As `fieldsV1`: what is owned itself and has more below is marked with "."."""
    ordered = sorted(paths)
    root = tree(ordered)
    for path in ordered:
        here = root
        for step in path:
            here = here[step]
        if here:
            here["."] = {}
    return root


def decoded(fields: Tree, at: Path = ()) -> set[Path]:
    """What `encoded` was given."""
    found: set[Path] = set()
    for step, below in fields.items():
        if step == ".":
            found.add(at)
        elif not below:
            found.add((*at, step))
        else:
            found |= decoded(below, (*at, step))
    return found


def written(path: Path) -> str:
    """For a message: `.spec.template.spec.containers[name="app"].image`."""
    said = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            said += f".{rest}"
        elif kind == "k":
            said += "[" + ",".join(f"{name}={json.dumps(value)}" for name, value in json.loads(rest).items()) + "]"
        else:
            said += f"[={rest}]"
    return said
