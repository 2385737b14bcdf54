"""The three kinds of patch that are not server-side apply."""

from __future__ import annotations

from typing import Any

from tests.support.kubernetes import schemas
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.schemas import Node
from tests.support.kubernetes.statuses import ApiError, bad_request

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def merge(live: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def strategic(live: Any, patch: Any, node: Node) -> Any:
    """As `merge`, but lists with a merge key are merged item by item; `$patch: delete` and `replace` are known."""
    if isinstance(patch, list):
        return _strategic_list(live if isinstance(live, list) else [], patch, node)
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    result = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            result.pop(name, None)
        else:
            result[name] = strategic(result.get(name), value, schemas.child(node, name) or {})
    return result


def _strategic_list(live: list[Any], patch: list[Any], node: Node) -> list[Any]:
    key = node.get("x-kubernetes-patch-merge-key")
    if node.get("x-kubernetes-patch-strategy") != "merge":
        return patch
    if key is None:
        return [*live, *(one for one in patch if one not in live)]
    found = {one.get(key): one for one in live}
    for one in patch:
        at = one.get(key)
        if one.get("$patch") == "delete":
            found.pop(at, None)
        else:
            found[at] = strategic(found.get(at, {}), one, schemas.items(node))
    return list(found.values())


def json_patch(live: Any, operations: Any) -> Any:
    """RFC 6902. Raises ApiError: 400 for what is no patch, 422 for a path that is not there or a test that fails."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    result = clone(live)
    for operation in operations:
        try:
            result = _performed(result, operation)
        except (LookupError, TypeError, ValueError) as error:
            message = f"the server rejected our request due to an error in our request: {operation}"
            raise ApiError(422, "Invalid", message, details={}) from error
    return result


def _performed(thing: Any, operation: dict[str, Any]) -> Any:
    steps = _pointer(operation["path"])
    match operation["op"]:
        case "add":
            return _set(thing, steps, operation["value"], insert=True)
        case "replace":
            _get(thing, steps)
            return _set(thing, steps, operation["value"], insert=False)
        case "remove":
            return _remove(thing, steps)
        case "test":
            if _get(thing, steps) != operation.get("value"):
                raise ValueError("test failed")
            return thing
        case "copy" | "move":
            source = _pointer(operation["from"])
            value = clone(_get(thing, source))
            if operation["op"] == "move":
                thing = _remove(thing, source)
            return _set(thing, steps, value, insert=True)
    raise ValueError(operation["op"])


def _pointer(text: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _get(thing: Any, steps: list[str]) -> Any:
    for step in steps:
        thing = thing[int(step)] if isinstance(thing, list) else thing[step]
    return thing


def _set(thing: Any, steps: list[str], value: Any, *, insert: bool) -> Any:
    if not steps:
        return value
    parent, last = _get(thing, steps[:-1]), steps[-1]
    if not isinstance(parent, list):
        parent[last] = value
    elif insert:
        parent.insert(len(parent) if last == "-" else int(last), value)
    else:
        parent[int(last)] = value
    return thing


def _remove(thing: Any, steps: list[str]) -> Any:
    parent, last = _get(thing, steps[:-1]), steps[-1]
    del parent[int(last) if isinstance(parent, list) else last]
    return thing
