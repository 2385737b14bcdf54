"""StatsService: messages in, messages out."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration

from fnmesh.invoke.v1 import stats_service_pb2 as pb
from fnmesh.invoke.v1 import stats_service_pb2_grpc
from invoke_svc.domain import Route, function_unknown
from invoke_svc.routes import RouteTable
from invoke_svc.stats.store import StatsStore
from invoke_svc.stats.tally import STEP_S, Summary
from invoke_svc.stats.totals import BOUNDS_S, Totals
from mesh import names
from mesh.auth import Scope, current_principal, require_scope
from mesh.errors import InvalidArgument

SERVICE_NAME = "fnmesh.invoke.v1.StatsService"
_DAY_S = 86_400
_LONGEST_S = 7 * _DAY_S


class StatsServicer(stats_service_pb2_grpc.StatsServiceServicer):
    """fnmesh.invoke.v1.StatsService."""

    def __init__(self, routes: RouteTable, store: StatsStore) -> None:
        self._routes = routes
        self._store = store

    async def ListFunctionStats(
        self, request: pb.ListFunctionStatsRequest, context: Any
    ) -> pb.ListFunctionStatsResponse:
        period_s = _period_s(request)
        routes = {route.uid: route for route in self._wanted(request.parent)}
        found = await self._store.summaries(list(routes), period_s)
        return pb.ListFunctionStatsResponse(
            stats=[_message(routes[uid], one) for uid, one in sorted(found.items(), key=lambda item: item[0])]
        )

    async def ListFunctionTotals(
        self, request: pb.ListFunctionTotalsRequest, context: Any
    ) -> pb.ListFunctionTotalsResponse:
        routes = {route.uid: route for route in self._wanted(request.parent)}
        found = await self._store.totals(list(routes))
        return pb.ListFunctionTotalsResponse(
            totals=[_totals(routes[uid], one) for uid, one in sorted(found.items(), key=lambda item: item[0])],
            bucket_bounds_seconds=BOUNDS_S,
        )

    def _wanted(self, parent: str) -> list[Route]:
        """The functions that are asked for. Raises NotFound, PermissionDenied."""
        require_scope(Scope.DEPLOY)
        workspace, function = names.parse(names.FUNCTION, parent, field="parent")
        if function != "-":
            route = self._routes.named(workspace, function)
            if route is None:
                raise function_unknown(f"'{function}' in workspace '{workspace}'")
            require_scope(Scope.DEPLOY, route.workspace)
            return [route]
        every = [route for uid in self._routes.uids() if (route := self._routes.get(uid)) is not None]
        if workspace != "-":
            every = [route for route in every if workspace in (route.workspace, route.workspace_display_name)]
            for route in every[:1]:
                require_scope(Scope.DEPLOY, route.workspace)
        mine = current_principal().workspace
        return [route for route in every if not mine or route.workspace == mine]


def _period_s(request: pb.ListFunctionStatsRequest) -> float:
    if not request.HasField("period"):
        return _DAY_S
    seconds = request.period.seconds + request.period.nanos / 1e9
    if not STEP_S <= seconds <= _LONGEST_S:
        message = "period must be 5 minutes to 7 days."
        raise InvalidArgument("PERIOD_INVALID", message, fields={"period": message})
    return float(seconds)


def _message(route: Route, found: Summary) -> pb.FunctionStats:
    return pb.FunctionStats(
        function=route.name,
        invocations=found.invocations,
        failures=found.failures,
        average_duration=_duration(found.average_s),
        p50_duration=_duration(found.p50_s),
        p95_duration=_duration(found.p95_s),
        p99_duration=_duration(found.p99_s),
    )


def _totals(route: Route, found: Totals) -> pb.FunctionTotals:
    return pb.FunctionTotals(
        function=route.name,
        invocations=found.invocations,
        failures=found.failures,
        duration_seconds=found.duration_s,
        buckets=[
            pb.DurationBucket(upper_bound_seconds=bound, invocations=count)
            for bound, count in zip(BOUNDS_S, found.within, strict=True)
        ],
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
