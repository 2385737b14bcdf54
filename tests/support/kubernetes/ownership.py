"""Which manager owns which fields of an object (`metadata.managedFields`), and server-side apply."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tests.support.kubernetes import fields
from tests.support.kubernetes.fields import Path
from tests.support.kubernetes.schemas import Node
from tests.support.kubernetes.statuses import ApiError, Cause, apply_conflict

Json = dict[str, Any]

NOBODYS = {
    ("f:apiVersion",), ("f:kind",), ("f:metadata",), ("f:metadata", "f:name"), ("f:metadata", "f:namespace"),
    ("f:metadata", "f:creationTimestamp"), ("f:metadata", "f:uid"), ("f:metadata", "f:generation"),
    ("f:metadata", "f:resourceVersion"), ("f:metadata", "f:managedFields"), ("f:metadata", "f:selfLink"),
    ("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:deletionGracePeriodSeconds"),
}  # fmt: skip

_REPLICAS = ("f:spec", "f:replicas")


@dataclass(frozen=True)
class Manager:
    """Who writes, and how: `operation` is Apply or Update."""

    name: str
    operation: str = "Update"
    subresource: str = ""


@dataclass(frozen=True)
class Entry:
    """What `manager` owns."""

    manager: Manager
    api_version: str
    time: str
    paths: frozenset[Path]

    def said(self) -> str:
        """As a conflict names it."""
        words = f'"{self.manager.name}"'
        if self.manager.subresource:
            words += f' with subresource "{self.manager.subresource}"'
        if self.manager.operation == "Update":
            words += f" using {self.api_version}"
        return words


def entries(thing: Json) -> list[Entry]:
    return [
        Entry(
            Manager(one["manager"], one["operation"], one.get("subresource", "")), one["apiVersion"], one["time"],
            frozenset(fields.decoded(one["fieldsV1"])),
        )
        for one in thing["metadata"].get("managedFields") or []
    ]  # fmt: skip


def _write(thing: Json, found: Iterable[Entry]) -> None:
    thing["metadata"]["managedFields"] = [
        {
            "manager": one.manager.name, "operation": one.manager.operation, "apiVersion": one.api_version,
            "time": one.time, "fieldsType": "FieldsV1", "fieldsV1": fields.encoded(one.paths),
            **({"subresource": one.manager.subresource} if one.manager.subresource else {}),
        }
        for one in found if one.paths
    ]  # fmt: skip


def _owned_paths(thing: Json, node: Node) -> dict[Path, Any]:
    return {path: value for path, value in fields.flat(thing, node).items() if path not in NOBODYS}


def updated(before: Json | None, now: Json, node: Node, manager: Manager, time: str) -> None:
    """Notes in `now` that `manager` owns what it changed; who owned that before does so no more.

    Who scales owns the number of replicas only where somebody owned it before: nothing is kept of a view that nobody
    is told to own anything of.
    """
    if manager.subresource == "scale" and before and not any(_REPLICAS in one.paths for one in entries(before)):
        _write(now, entries(before))
        return
    old = _owned_paths(before, node) if before else {}
    new = _owned_paths(now, node)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    removed = set(old) - set(new)
    if manager.subresource != "status":
        changed = {path for path in changed if path[0] != "f:status"}
    _write(now, _taken(entries(before) if before else [], manager, changed, removed, now["apiVersion"], time))


def _taken(
    found: list[Entry], manager: Manager, changed: set[Path], removed: set[Path], api_version: str, time: str
) -> list[Entry]:
    result: list[Entry] = []
    own = Entry(manager, api_version, time, frozenset())
    for entry in found:
        if entry.manager == manager:
            own = entry
            continue
        result.append(_less(entry, changed | removed, time))
    paths = frozenset((own.paths - removed) | changed)
    if paths != own.paths:
        own = replace(own, paths=paths, time=time, api_version=api_version)
    return [*result, own]


def _less(entry: Entry, taken: set[Path], time: str) -> Entry:
    left = entry.paths - taken
    return entry if left == entry.paths else replace(entry, paths=left, time=time)


def applied(live: Json, wanted: Json, node: Node, manager: str, *, force: bool, time: str) -> Json:
    """`live` as `manager` wants it, with managedFields.

    What `manager` applied before and wants no more goes, unless another owns it too. Raises ApiError 409 naming
    managers and fields where `wanted` differs in fields others own, unless `force`.
    """
    me = Manager(manager, "Apply")
    found = entries(live)
    others = [entry for entry in found if entry.manager != me]
    last = next((entry.paths for entry in found if entry.manager == me), frozenset())
    mine = frozenset(path for path in _owned_paths(wanted, node) if path[0] != "f:status")
    result = fields.merged(live, {key: value for key, value in wanted.items() if key != "status"}, node)
    still_owned = set(mine).union(*(entry.paths for entry in others))
    result = fields.cut_back(result, node, fields.tree(last), fields.tree(still_owned | NOBODYS))
    old, new = _owned_paths(live, node), _owned_paths(result, node)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    if not force and (refused := _conflict(others, changed)) is not None:
        raise refused
    removed = set(old) - set(new)
    own = next((entry for entry in found if entry.manager == me), None)
    if own is None or own.paths != mine:
        own = Entry(me, wanted["apiVersion"], time, mine)
    result["metadata"] = dict(result["metadata"])
    _write(result, [*(_less(entry, changed | removed, time) for entry in others), own])
    return dict(result)


def _conflict(others: list[Entry], changed: set[Path]) -> ApiError | None:
    conflicts = [
        (entry, path) for entry in others for path in sorted(entry.paths & changed) if not path[-1].startswith("k:")
    ]  # fmt: skip
    if not conflicts:
        return None
    causes = [
        Cause(fields.written(path), f"conflict with {entry.said()}", "FieldManagerConflict")
        for entry, path in conflicts
    ]  # fmt: skip
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        lines: list[str] = []
        for said in sorted({entry.said() for entry, _ in conflicts}):
            lines.append(f"conflicts with {said}:")
            lines += [f"- {fields.written(path)}" for entry, path in conflicts if entry.said() == said]
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return apply_conflict(message, causes)


def same(one: Json, other: Json) -> bool:
    """Whether nothing differs but the numbers and times the server keeps."""
    return _bare(one) == _bare(other)


def _bare(thing: Json) -> Json:
    metadata = {key: value for key, value in thing["metadata"].items() if key != "resourceVersion"}
    metadata["managedFields"] = [
        {key: value for key, value in one.items() if key != "time"} for one in metadata.get("managedFields") or []
    ]
    return {**thing, "metadata": metadata}
