"""Lists: selectors, pages, and the version from which to watch."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.kubernetes import statuses
from tests.support.kubernetes.resources import Resource
from tests.support.kubernetes.selectors import fields_match, labels_match
from tests.support.kubernetes.storage import Storage

Json = dict[str, Any]
Query = Mapping[str, str]

_TOO_OLD_TO_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


_FIELDS = ("metadata.name", "metadata.namespace")
_MORE_FIELDS = {
    "Pod": ("spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"),
    "Secret": ("type",), "Namespace": ("status.phase",), "ReplicaSet": ("status.replicas",),
    "Event": ("involvedObject.kind", "involvedObject.name", "involvedObject.uid", "reason", "type"),
}  # fmt: skip


def chosen(resource: Resource, query: Query) -> Callable[[Json], bool]:
    """What labelSelector and fieldSelector of a query choose. Raises ApiError 400."""
    labels = labels_match(query.get("labelSelector", ""))
    fields = fields_match(query.get("fieldSelector", ""), (*_FIELDS, *_MORE_FIELDS.get(resource.kind, ())))
    return lambda thing: labels(thing["metadata"].get("labels") or {}) and fields(thing)


def listed(storage: Storage, resource: Resource, namespace: str, query: Query) -> Json:
    """The list a query asks for. Raises ApiError: 400 for a bad query, 410 for a page of a forgotten list."""
    limit = _number(query, "limit")
    with storage.lock:
        matches = chosen(resource, query)
        found = [thing for thing in storage.all(resource, namespace) if matches(thing)]
        version = storage.version
        if token := query.get("continue"):
            version, after = _decoded(token)
            if version < storage.compacted:
                raise statuses.expired(_TOO_OLD_TO_CONTINUE)
            found = [thing for thing in found if _place(thing) > after]
        elif query.get("resourceVersionMatch") == "Exact" and _number(query, "resourceVersion") < storage.compacted:
            raise statuses.expired(f"The provided resource version is too old: {query['resourceVersion']}")
    metadata: Json = {"resourceVersion": str(version)}
    if limit and len(found) > limit:
        metadata["continue"] = _encoded(version, _place(found[limit - 1]))
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            metadata["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return of(resource, found, metadata)


def of(resource: Resource, things: list[Json], metadata: Json) -> Json:
    """A list object. The items of built-in kinds do not say what they are, as the real server has it."""
    if not resource.custom:
        things = [{key: value for key, value in one.items() if key not in ("apiVersion", "kind")} for one in things]
    return {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata, "items": things}


def _number(query: Query, name: str) -> int:
    text = query.get(name) or "0"
    if not text.isdigit():
        raise statuses.bad_request(f'invalid {name}: "{text}"')
    return int(text)


def _place(thing: Json) -> list[str]:
    return [thing["metadata"].get("namespace", ""), thing["metadata"]["name"]]


def _encoded(version: int, after: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, after]).encode()).decode()


def _decoded(token: str) -> tuple[int, list[str]]:
    try:
        version, after = json.loads(base64.urlsafe_b64decode(token))
        return int(version), list(after)
    except (binascii.Error, ValueError, TypeError) as error:
        raise statuses.bad_request("continue key is not valid") from error
