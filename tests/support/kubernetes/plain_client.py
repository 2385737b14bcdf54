"""PyPI's `kubernetes` client, as a test of the server wants it: paths and plain JSON in, plain JSON out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kubernetes import client, config

Json = dict[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
_PATHS = {
    "Namespace": "/api/v1/namespaces", "Pod": "/api/v1/namespaces/{}/pods", "Secret": "/api/v1/namespaces/{}/secrets",
    "Service": "/api/v1/namespaces/{}/services", "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "SpinApp": "/apis/core.spinkube.dev/v1alpha1/namespaces/{}/spinapps",
}  # fmt: skip


def status_of(error: client.ApiException) -> Json:
    """The Status in an answer that refuses."""
    found: Json = json.loads(error.body or "")
    assert (found["kind"], found["apiVersion"], found["status"]) == ("Status", "v1", "Failure")
    assert found["code"] == error.status
    return found


NAMESPACED = tuple(kind for kind, path in _PATHS.items() if "{}" in path)
"""Kinds that `path_of` knows, of which each namespace has its own."""


def path_of(thing: Json, namespace: str = "default") -> str:
    """Of the collection it belongs in."""
    return _PATHS[thing["kind"]].format(namespace)


class PlainClient:
    """Of one context of a kubeconfig. Raises the client's ApiException."""

    def __init__(self, kubeconfig: Path, context: str | None = None) -> None:
        self.api = config.new_client_from_config(str(kubeconfig), context=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.api.close()
        self.api.rest_client.pool_manager.clear()

    def ask(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **query: Any
    ) -> Json:
        """One request, and the JSON of its answer."""
        with closing(self._send(method, path, body, content_type, query)) as answer:
            found: Json = json.loads(answer.data)
            return found

    def text(self, path: str, **query: Any) -> str:
        """A GET's answer."""
        with closing(self._send("GET", path, None, "application/json", query)) as answer:
            return str(answer.data.decode())

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        """A GET's answer, line by line as they come."""
        with closing(self._send("GET", path, None, "application/json", query)) as answer:
            left = b""
            for part in answer.stream(amt=None):
                *whole, left = (left + part).split(b"\n")
                yield from (line.decode() for line in whole)

    def create(self, thing: Json, namespace: str = "default", **query: Any) -> Json:
        return self.ask("POST", path_of(thing, namespace), thing, **query)

    def apply(self, thing: Json, namespace: str = "default", *, manager: str = "fnmesh", **query: Any) -> Json:
        path = f"{path_of(thing, namespace)}/{thing['metadata']['name']}"
        return self.ask("PATCH", path, thing, content_type=APPLY, fieldManager=manager, **query)

    def _send(self, method: str, path: str, body: Any, content_type: str, query: dict[str, Any]) -> Any:
        answer = self.api.call_api(
            *self.api.param_serialize(
                method, path, query_params=[(name, str(value)) for name, value in query.items()],
                header_params={"Accept": "application/json", "Content-Type": content_type}, body=body,
                auth_settings=["BearerToken"],
            )
        )  # fmt: skip
        if not 200 <= answer.status <= 299:
            answer.read()
            raise client.ApiException.from_response(http_resp=answer, body=answer.data.decode(), data=None)
        return answer.response
