"""The ADS server: Envoy's delta discovery protocol over one stream, answered from the book."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from fnmesh.internal.gateway.v1 import xds_pb2
from gateway.envoy import resources
from gateway.envoy.book import Book, Change, Key, Subscriber
from mesh.logs import get_logger

log = get_logger(__name__)

ADS_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
ADS_METHOD = "DeltaAggregatedResources"
# Make before break: what is referred to goes before what refers to it.
_ORDER = (
    resources.RUNTIME,
    resources.CLUSTER,
    resources.ENDPOINTS,
    resources.LISTENER,
    resources.ROUTE,
)
_WILDCARD_TYPES = frozenset({resources.CLUSTER, resources.LISTENER})
_Requests = AsyncIterator[xds_pb2.DeltaDiscoveryRequest]
_Context = grpc.aio.ServicerContext[xds_pb2.DeltaDiscoveryRequest, xds_pb2.DeltaDiscoveryResponse]


class AdsServer:
    """Serves `DeltaAggregatedResources`."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the one method to a server. The others of the protocol are not needed."""
        handler = grpc.stream_stream_rpc_method_handler(
            self.stream,
            request_deserializer=xds_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=xds_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ADS_SERVICE, {ADS_METHOD: handler}),))

    async def stream(self, requests: _Requests, context: Any) -> None:
        """One Envoy, for as long as its stream lasts."""
        stream = _Stream(self._book, context)
        self._book.attach(stream.subscriber)
        log.info("envoy_connected")
        try:
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(stream.send_changes())
                async for request in requests:
                    await stream.take(request)
                sender.cancel()
        finally:
            await self._book.detach(stream.subscriber)
            log.info("envoy_disconnected")


class _Stream:
    def __init__(self, book: Book, context: _Context) -> None:
        self.subscriber = Subscriber()
        self._book = book
        self._context = context
        self._nonces = itertools.count(1)
        self._unanswered: dict[str, dict[Key, str]] = {}
        self._seen: set[str] = set()

    async def take(self, request: xds_pb2.DeltaDiscoveryRequest) -> None:
        """One message of Envoy's: it may subscribe, unsubscribe and acknowledge at once."""
        kind, subscriber = request.type_url, self.subscriber
        first = kind not in self._seen
        self._seen.add(kind)
        if first:
            held = {(kind, name): version for name, version in request.initial_resource_versions.items()}
            subscriber.known.update(held)
            await self._book.acknowledge(subscriber, held)
            if kind in _WILDCARD_TYPES and not request.resource_names_subscribe:
                subscriber.wildcards.add(kind)
        for name in request.resource_names_subscribe:
            if name == "*":
                subscriber.wildcards.add(kind)
                continue
            if not first:
                # Asked for again: it is to be sent again, even if it was before.
                subscriber.known.pop((kind, name), None)
            subscriber.wanted.add((kind, name))
        for name in request.resource_names_unsubscribe:
            subscriber.wanted.discard((kind, name))
            subscriber.known.pop((kind, name), None)
            subscriber.acknowledged.pop((kind, name), None)
        await self._answered(request)
        subscriber.wake.set()

    async def _answered(self, request: xds_pb2.DeltaDiscoveryRequest) -> None:
        versions = self._unanswered.pop(request.response_nonce, None)
        if versions is None:
            return
        if request.HasField("error_detail"):
            log.error("envoy_refused", type=request.type_url, error=request.error_detail.message)
            return
        await self._book.acknowledge(self.subscriber, versions)

    async def send_changes(self) -> None:
        """Sends what is new, whenever there is something."""
        wake = self.subscriber.wake
        while True:
            await wake.wait()
            wake.clear()
            for change in self._book.changes(self.subscriber, _ORDER):
                await self._send(change)

    async def _send(self, change: Change) -> None:
        nonce = str(next(self._nonces))
        response = xds_pb2.DeltaDiscoveryResponse(
            type_url=change.type_url, nonce=nonce, removed_resources=change.removed
        )
        for resource in change.resources:
            sent = response.resources.add(name=resource.name, version=resource.version)
            sent.resource.type_url = resource.type_url
            sent.resource.value = resource.body
        self._unanswered[nonce] = {(change.type_url, one.name): one.version for one in change.resources}
        await self._context.write(response)
