"""The gateway's gRPC services: membership and traces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fnmesh.internal.gateway.v1 import membership_service_pb2 as membership_pb
from fnmesh.internal.gateway.v1 import membership_service_pb2_grpc as membership_grpc
from fnmesh.trace.v1 import trace_service_pb2 as trace_pb
from fnmesh.trace.v1 import trace_service_pb2_grpc as trace_grpc
from gateway.membership import Roster
from gateway.reflection import AggregatedHealth
from gateway.telemetry.all_spans import AllSpans
from gateway.telemetry.tree import trace_of
from gateway.telemetry.visibility import of_workspace
from mesh.auth import Scope, current_principal, require_scope
from mesh.errors import InvalidArgument, NotFound


class MembershipServicer(membership_grpc.MembershipServiceServicer):
    """A process is a member while its stream lasts."""

    def __init__(self, roster: Roster, health: AggregatedHealth) -> None:
        self._roster = roster
        self._health = health

    async def Join(
        self, request_iterator: AsyncIterator[membership_pb.JoinRequest], context: Any
    ) -> AsyncIterator[membership_pb.JoinResponse]:
        member = None
        try:
            async for request in request_iterator:
                if request.draining and member is None:
                    raise InvalidArgument("NOT_JOINED", "Only a member can drain: join first.")
                if request.draining and member is not None:
                    resource = self._roster.leave(member)
                    await self._health.update(self._roster.missing())
                elif member is None:
                    member, resource = await self._roster.join(request.service, request.address)
                    await self._health.update(self._roster.missing())
                else:
                    raise InvalidArgument("ALREADY_JOINED", "A stream is one member; open another for another.")
                await self._roster.applied(resource)
                yield membership_pb.JoinResponse(applied=True)
        finally:
            if member is not None:
                self._roster.leave(member)
                await self._health.update(self._roster.missing())

    async def ListMembers(
        self, request: membership_pb.ListMembersRequest, context: Any
    ) -> membership_pb.ListMembersResponse:
        members = [membership_pb.Member(service=service, address=at) for service, at in self._roster.places()]
        return membership_pb.ListMembersResponse(members=members)


class TraceServicer(trace_grpc.TraceServiceServicer):
    """The traces that the mesh keeps itself. `collector` says where they go instead, if they do."""

    def __init__(self, spans: AllSpans, collector: str = "") -> None:
        self._spans = spans
        self._collector = collector

    async def GetTrace(self, request: trace_pb.GetTraceRequest, context: Any) -> trace_pb.Trace:
        require_scope(Scope.DEPLOY)
        trace_id = request.name.removeprefix("traces/").lower()
        try:
            key = bytes.fromhex(trace_id)
        except ValueError:
            key = b""
        if len(key) != 16 or not request.name.startswith("traces/"):
            raise InvalidArgument(
                "NAME_INVALID",
                "A trace is named traces/{trace_id}, with 32 hex digits.",
                fields={"name": "traces/{trace_id}"},
            )
        spans = await self._spans.settled(key)
        workspace = current_principal().workspace
        if workspace:
            spans = of_workspace(workspace, spans)
        if not spans and self._collector:
            raise NotFound(
                "TRACE_ELSEWHERE",
                f"This mesh keeps no traces: it sends them to the collector at {self._collector} "
                f"(OTEL_EXPORTER_OTLP_ENDPOINT); look for {trace_id} there.",
            )
        if not spans:
            whose = "it was not sampled, or is too old" + (", or is not this key's workspace's" if workspace else "")
            raise NotFound("TRACE_NOT_FOUND", f"There is no trace {trace_id}: {whose}.")
        return trace_of(trace_id, spans)
