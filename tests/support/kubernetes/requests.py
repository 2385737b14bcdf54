"""From an HTTP request to what it asks: of which objects, which verb, with which options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.support.kubernetes import patches, statuses
from tests.support.kubernetes.api import Target
from tests.support.kubernetes.deleting import DeleteOptions
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.resources import Catalog
from tests.support.kubernetes.statuses import PageNotFound

_METHODS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class _Loader(yaml.SafeLoader):
    """Leaves times as the text they are, as the server's YAML does."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Request:
    """One HTTP request; headers have small letters."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "application/json").partition(";")[0].strip()

    @property
    def watches(self) -> bool:
        return self.query.get("watch") in ("true", "1")

    def verb(self, target: Target) -> str:
        """As RBAC names it. Raises ApiError 405."""
        if self.method in ("GET", "HEAD"):
            if self.watches:
                return "watch"
            return "get" if target.name else "list"
        if self.method == "DELETE":
            return "delete" if target.name else "deletecollection"
        if self.method not in _METHODS or (self.method == "POST") == bool(target.name):
            raise statuses.method_not_allowed()
        return _METHODS[self.method]

    def decoded(self) -> Any:
        """The body. Raises ApiError 400, or 415 for one in protocol buffers."""
        if "protobuf" in self.content_type:
            raise statuses.unsupported_media_type(self.content_type)
        try:
            if self.body[:1] in (b"{", b"["):
                return json.loads(self.body)
            return yaml.load(self.body, _Loader)
        except (ValueError, yaml.YAMLError) as error:
            raise statuses.bad_request(f"the body of the request cannot be read: {error}") from error

    def options(self) -> Options:
        """Of a write."""
        agent = self.headers.get("user-agent", "unknown").partition("/")[0]
        applies = self.content_type == patches.APPLY
        return Options(
            manager=self.query.get("fieldManager", "" if applies else agent),
            dry_run=self.query.get("dryRun") == "All",
            force=self.query.get("force") in ("true", "1"),
            field_validation=self.query.get("fieldValidation") or "Warn",
        )

    def delete_options(self) -> DeleteOptions:
        """Of the body, else of the query. Raises ApiError 400."""
        body = self.decoded() if self.body.strip() else {}
        if not isinstance(body, dict):
            raise statuses.bad_request("the body is no DeleteOptions")
        grace = body.get("gracePeriodSeconds", self.query.get("gracePeriodSeconds"))
        propagation = body.get("propagationPolicy") or self.query.get("propagationPolicy") or "Background"
        dry_run = body.get("dryRun") or ([self.query["dryRun"]] if "dryRun" in self.query else [])
        return DeleteOptions(
            None if grace is None else int(grace), propagation, body.get("preconditions") or {}, "All" in dry_run
        )


def target_of(catalog: Catalog, path: str) -> Target:
    """What an object's path names. Raises PageNotFound for one nobody serves."""
    steps = [step for step in path.split("/") if step]
    if steps[:1] == ["api"] and len(steps) > 2:
        group, version, rest = "", steps[1], steps[2:]
    elif steps[:1] == ["apis"] and len(steps) > 3:
        group, version, rest = steps[1], steps[2], steps[3:]
    else:
        raise PageNotFound
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *more = [*rest, "", "", ""][: max(len(rest), 3)]
    resource = catalog.find(group, version, plural)
    if resource is None or any(more) or (namespace and not resource.namespaced):
        raise PageNotFound
    if name and resource.namespaced and not namespace:
        raise PageNotFound
    if subresource and subresource not in resource.subresources:
        raise PageNotFound
    return Target(resource, namespace, name, subresource)
