"""What functions wrote and used, and what their machines did."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import Response

from fnmesh.deploy.v1 import usage_service_pb2 as usage_pb
from fnmesh.registry.v1 import function_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest import builtin, convert
from gateway.rest.caller import Caller, Mesh
from gateway.rest.line_query import QUERY, line_query
from gateway.rest.observability_models import ClusterMetrics, ClusterPoint, ClusterUsage, Lines, Metrics
from gateway.rest.observing import LineQuestion, Observing, asked
from gateway.rest.problems import answers
from gateway.rest.sse import EventStream
from gateway.rest.times import Time, time_of
from mesh.errors import NotFound

router = APIRouter(tags=["logs and metrics"])
_METRICS = ["CPUUtilization", "MemoryUtilization"]


def _observing(request: Request) -> Observing:
    found: Observing = request.app.state.observing
    return found


Around = Annotated[Observing, Depends(_observing)]
FunctionUid = Annotated[
    str,
    Path(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="Identifier of the function, whichever workspace it is in.",
        examples=["fn-abcdefghijkl"],
    ),
]
Cluster = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        description="`default`, or another name that the operator gave to where functions run.",
        examples=["default"],
    ),
]
Since = Annotated[
    Time | None, Query(description="Lines written then or later: RFC 3339, or since the epoch as Loki takes it.")
]
Until = Annotated[Time | None, Query(description="Lines written earlier, in the same form.")]
Asked = Annotated[
    str,
    Query(
        pattern=QUERY,
        max_length=1000,
        description='Text that lines contain, or of LogQL the steps that choose lines: `|= "this" != "not that"`.',
        examples=["Error"],
    ),
]


@router.get(
    "/api/functions/{function_id}/metrics",
    responses=answers(404),
    response_model_exclude_none=True,
    summary="CPU, memory, invocations and times of a function within the last hour",
)
async def get_metrics(function_id: FunctionUid, mesh: Mesh, around: Around) -> Metrics:
    function = await _function(mesh, function_id)
    source = around.metrics
    if source is None:
        return await builtin.metrics(mesh, function)
    found = await asked(lambda: source.metrics(function.uid), "Prometheus", around.patience_s)
    if isinstance(found, Metrics):
        return found
    return (await builtin.metrics(mesh, function)).model_copy(update={"degraded": found})


@router.get(
    "/api/functions/{function_id}/loki-logs",
    response_model=Lines,
    response_model_exclude_none=True,
    responses=answers(404),
    summary="Log lines of a function, newest first",
    description="With `follow=true` the lines are sent as they are written, oldest first, as server-sent events; "
    "the header `Last-Event-ID` resumes.",
)
async def get_lines(
    function_id: FunctionUid,
    mesh: Mesh,
    around: Around,
    limit: Annotated[int, Query(ge=1, le=5000)] = 100,
    start: Since = None,
    end: Until = None,
    query: Asked = "",
    follow: Annotated[bool, Query(include_in_schema=False)] = False,
    last_event_id: Annotated[str, Header(include_in_schema=False)] = "",
) -> Lines | Response:
    function = await _function(mesh, function_id)
    wanted = line_query(query)
    question = LineQuestion(
        function.uid,
        function.name.split("/")[1],
        limit,
        wanted,
        time_of(start) if start else None,
        time_of(end) if end else None,
    )
    if wanted.function_id not in (None, function.uid):
        return Lines(function_id=function.uid, logs=[], source="builtin")  # of this function none are another's
    if follow:
        after = int(last_event_id) if last_event_id.isdecimal() and len(last_event_id) < 18 else 0
        return EventStream(builtin.followed(mesh, function, question, after))
    source, degraded = around.lines, None
    if source is not None:
        found = await asked(lambda: source.lines(question), "Loki", around.patience_s)
        if not isinstance(found, str):
            return Lines(function_id=function.uid, logs=list(found), source="loki")
        degraded = found
    own = await builtin.lines(mesh, function, question)
    return Lines(function_id=function.uid, logs=own, source="builtin", degraded=degraded)


@router.get(
    "/api/cloudwatch/{cluster}",
    responses=answers(404),
    summary="CPU and memory of where functions run, in percent of the machine's",
)
async def get_cluster(
    cluster: Cluster,
    mesh: Mesh,
    around: Around,
    minutes: Annotated[int, Query(ge=1, le=60, description="How far to look back.")] = 10,
    period: Annotated[
        int, Query(ge=1, le=3600, description="Seconds that a point stands for; rounded up to whole minutes.")
    ] = 60,
) -> ClusterUsage:
    usage = await _usage(mesh, minutes, period)
    _check_cluster(cluster, around)
    points = [
        ClusterPoint(
            timestamp=convert.time_of(point.time),
            cpu_utilization=round(point.cpu_percent, 3),
            memory_utilization=round(point.memory_percent, 3),
        )
        for point in usage.points
    ]
    return ClusterUsage(cluster=cluster, points=points)


@router.get(
    "/api/cloudwatch/{cluster}/metrics", responses=answers(404), summary="The metrics that there are of a cluster"
)
async def list_cluster_metrics(cluster: Cluster, mesh: Mesh, around: Around) -> ClusterMetrics:
    await _usage(mesh, 1, 60)  # whoever may see none of them is not told their names
    _check_cluster(cluster, around)
    return ClusterMetrics(metrics=_METRICS)


async def _function(mesh: Caller, uid: str) -> function_pb2.Function:
    found: function_pb2.Function = await mesh.registry.GetFunction(
        registry_pb.GetFunctionRequest(name=f"workspaces/-/functions/{uid}")
    )
    return found


async def _usage(mesh: Caller, minutes: int, period_s: int) -> usage_pb.TargetUsage:
    request = usage_pb.GetTargetUsageRequest()
    request.lookback.FromSeconds(minutes * 60)
    request.period.FromSeconds(period_s)
    found: usage_pb.TargetUsage = await mesh.usage.GetTargetUsage(request)
    return found


def _check_cluster(cluster: str, around: Observing) -> None:
    if cluster not in around.clusters:
        raise NotFound("CLUSTER_NOT_FOUND", f"There is no cluster '{cluster}'.", cluster=cluster)
