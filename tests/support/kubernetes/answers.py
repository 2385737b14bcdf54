"""What each verb answers with: the code, the object, and for watches and logs the stream."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from tests.support.kubernetes import access, listing, metrics, patches, scaling, statuses
from tests.support.kubernetes.api import Api, Target
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.kubelet import Kubelet
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.pod_logs import LogQuery, PodLogs, readable
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.resources import POD_METRICS
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import ClusterClock
from tests.support.kubernetes.watching import Watch, Watches

Json = dict[str, Any]


class Answers:
    """Of one server. Raises ApiError."""

    def __init__(
        self, storage: Storage, api: Api, watches: Watches, logs: PodLogs, kubelet: Kubelet, clock: ClusterClock
    ) -> None:
        self._storage = storage
        self._api = api
        self._watches = watches
        self._logs = logs
        self._kubelet = kubelet
        self._clock = clock

    def perform(
        self, verb: str, target: Target, request: Request, holder: access.Holder
    ) -> tuple[int, Json, list[str]]:
        """The code, the answer, and what it warns of."""
        options = request.options()
        if target.resource is POD_METRICS:
            return 200, metrics.answer(self._storage, self._kubelet.usage, target, request.query, self._clock.now()), []
        if target.subresource == "scale" and verb in ("get", "update", "patch"):
            return 200, self._scale(verb, target, request, options), options.warnings
        match verb:
            case "get":
                return 200, self._api.get(target), []
            case "list":
                return 200, listing.listed(self._storage, target.resource, target.namespace, request.query), []
            case "create":
                return 201, self._api.create(target, request.decoded(), options), options.warnings
            case "update":
                return 200, self._api.update(target, request.decoded(), options), options.warnings
            case "patch":
                if request.content_type == patches.APPLY and self._absent(target):
                    access.require(holder, "create", Target(target.resource, target.namespace, target.name))
                answer, new = self._api.patch(target, request.decoded(), request.content_type, options)
                return 201 if new else 200, answer, options.warnings
            case "delete":
                return 200, self._api.delete(target, request.delete_options()), []
            case "deletecollection":
                return 200, self._delete_all(target, request), []
        raise statuses.method_not_allowed()

    def watch(self, target: Target, request: Request) -> AsyncGenerator[bytes, None]:
        """The events, a line each."""
        query = dict(request.query)
        if target.name:
            query["fieldSelector"] = f"metadata.name={target.name}"
        watch = Watch(self._watches, self._storage, target.resource, target.namespace, query)
        return _lines(watch)

    def log(self, target: Target, request: Request) -> AsyncGenerator[bytes, None]:
        """What the container wrote."""
        pod = self._api.get(Target(target.resource, target.namespace, target.name))
        container = readable(pod, request.query.get("container", ""))
        query = LogQuery.of(request.query, self._clock.now())
        previous = request.query.get("previous") in ("true", "1")
        return self._logs.read(pod["metadata"]["uid"], container, query, previous=previous)

    def _absent(self, target: Target) -> bool:
        return self._storage.find(target.resource, target.namespace, target.name) is None

    def _scale(self, verb: str, target: Target, request: Request, options: Options) -> Json:
        with self._storage.lock:
            thing = self._api.get(Target(target.resource, target.namespace, target.name))
            scale = scaling.scale_of(target.resource, thing)
            if verb == "get":
                return scale
            wanted = request.decoded()
            if verb == "patch":
                wanted = patches.json_patch(scale, wanted) if request.content_type == patches.JSON_PATCH \
                    else patches.merge(scale, wanted)  # fmt: skip
            return scaling.scale_of(target.resource, self.scaled(target, wanted["spec"].get("replicas", 0), options))

    def scaled(self, target: Target, replicas: int, options: Options) -> Json:
        """The object of `target` with so many replicas, as who scales it would have it."""
        with self._storage.lock:
            thing = clone(self._api.get(target))
            thing["spec"]["replicas"] = replicas
            return self._api.update(
                Target(target.resource, target.namespace, target.name, "scale"), thing, options
            )  # fmt: skip

    def _delete_all(self, target: Target, request: Request) -> Json:
        with self._storage.lock:
            chosen = listing.listed(self._storage, target.resource, target.namespace, request.query)
            options = request.delete_options()
            for thing in chosen["items"]:
                metadata = thing["metadata"]
                self._api.delete(Target(target.resource, metadata.get("namespace", ""), metadata["name"]), options)
        return chosen


async def _lines(watch: Watch) -> AsyncGenerator[bytes, None]:
    async for event in watch.events():
        yield json.dumps(event).encode() + b"\n"
