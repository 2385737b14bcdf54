"""Traces of which other gateways have a part: services and Envoys send their spans to any one of them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from fnmesh.internal.gateway.v1 import span_service_pb2 as pb
from fnmesh.internal.gateway.v1 import span_service_pb2_grpc as pb_grpc
from gateway.peers import Peers
from gateway.telemetry.store import StoredSpan, TraceStore

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["SpanService"].full_name


class SpanServicer(pb_grpc.SpanServiceServicer):
    """Answers other gateways."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    async def GetSpans(self, request: pb.GetSpansRequest, context: Any) -> pb.GetSpansResponse:
        spans = await self._store.settled(request.trace_id)
        return pb.GetSpansResponse(spans=[pb.KeptSpan(service=one.service, body=one.body) for one in spans])


class AllSpans:
    """What all gateways have of a trace."""

    def __init__(self, store: TraceStore, peers: Peers) -> None:
        self._store, self._peers = store, peers

    async def settled(self, trace_id: bytes) -> list[StoredSpan]:
        """The spans, each once or twice."""

        async def theirs(channel: grpc.aio.Channel) -> list[StoredSpan]:
            answer = await pb_grpc.SpanServiceStub(channel).GetSpans(pb.GetSpansRequest(trace_id=trace_id))
            return [StoredSpan(one.service, one.body) for one in answer.spans]

        own, others = await asyncio.gather(self._store.settled(trace_id), self._peers.ask(theirs))
        return [span for part in (own, *others) for span in part]
