"""Traces of which other gateways have a part: services and Envoys send their spans to any one of them."""

from __future__ import annotations

import asyncio
from typing import Any

from fnmesh.internal.gateway.v1 import span_service_pb2 as pb
from fnmesh.internal.gateway.v1 import span_service_pb2_grpc as pb_grpc
from gateway.telemetry.store import StoredSpan, TraceStore
from mesh import addresses
from mesh.auth import ServiceToken
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.rpc_client import open_channel

log = get_logger(__name__)
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["SpanService"].full_name
_PATIENCE_S = 5.0


class SpanServicer(pb_grpc.SpanServiceServicer):
    """Answers other gateways."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    async def GetSpans(self, request: pb.GetSpansRequest, context: Any) -> pb.GetSpansResponse:
        spans = await self._store.settled(request.trace_id)
        return pb.GetSpansResponse(spans=[pb.KeptSpan(service=one.service, body=one.body) for one in spans])


class AllSpans:
    """What all gateways have of a trace. One that does not answer in time is done without.

    `gateways` is where all of them are reached, this one among them; where it is the only one, nobody is asked.
    """

    def __init__(self, store: TraceStore, gateways: str, token: ServiceToken) -> None:
        self._store, self._gateways, self._token = store, gateways, token

    async def settled(self, trace_id: bytes) -> list[StoredSpan]:
        """The spans, each once or twice."""
        if not addresses.is_several(self._gateways):
            return await self._store.settled(trace_id)
        asked = [self._ask(address, trace_id) for address in await addresses.resolved(self._gateways)]
        parts = await asyncio.gather(self._store.settled(trace_id), *asked)
        return [span for part in parts for span in part]

    async def _ask(self, address: str, trace_id: bytes) -> list[StoredSpan]:
        try:
            async with open_channel(address, token=self._token, default_deadline_s=_PATIENCE_S) as channel:
                stub = pb_grpc.SpanServiceStub(channel)
                answer = await stub.GetSpans(pb.GetSpansRequest(trace_id=trace_id))
        except MeshError as error:
            log.info("spans_not_asked_for", gateway=address, reason=error.reason)
            return []
        return [StoredSpan(one.service, one.body) for one in answer.spans]
