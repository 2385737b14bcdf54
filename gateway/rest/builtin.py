"""Log lines and metrics from the mesh itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fnmesh.deploy.v1 import deploy_service_pb2 as deploy_pb
from fnmesh.deploy.v1 import deployment_pb2
from fnmesh.deploy.v1 import usage_service_pb2 as usage_pb
from fnmesh.invoke.v1 import stats_service_pb2 as stats_pb
from fnmesh.registry.v1 import function_pb2
from gateway.rest import convert
from gateway.rest.caller import Caller
from gateway.rest.observability_models import Latency, Line, Metrics, Sample, Series
from gateway.rest.observing import LineQuestion
from gateway.rest.sse import event

WINDOW_S = 3600
_FOLLOW_S = 3600.0
_STREAMS = {
    deployment_pb2.LOG_STREAM_STDOUT: "stdout",
    deployment_pb2.LOG_STREAM_STDERR: "stderr",
    deployment_pb2.LOG_STREAM_SYSTEM: "system",
}


async def metrics(mesh: Caller, function: function_pb2.Function) -> Metrics:
    """What was measured and counted of a function."""
    usage = await mesh.usage.GetFunctionUsage(usage_pb.GetFunctionUsageRequest(name=function.name))
    request = stats_pb.ListFunctionStatsRequest(parent=function.name)
    request.period.FromSeconds(WINDOW_S)
    counted = (await mesh.stats.ListFunctionStats(request)).stats
    stats = counted[0] if counted else stats_pb.FunctionStats()
    times = [convert.time_of(point.time) for point in usage.points]
    cpus = [point.cpus for point in usage.points]
    memory = [float(point.memory_bytes) for point in usage.points]
    return Metrics(
        function_id=function.uid,
        cpu=_series(usage.current.cpus, times, cpus),
        memory=_series(usage.current.memory_bytes, times, memory),
        invocations=stats.invocations,
        errors=stats.failures,
        latency_ms=Latency(
            p50=stats.p50_duration.ToNanoseconds() / 1e6,
            p95=stats.p95_duration.ToNanoseconds() / 1e6,
            p99=stats.p99_duration.ToNanoseconds() / 1e6,
        ),
        source="builtin",
    )


async def lines(mesh: Caller, function: function_pb2.Function, question: LineQuestion) -> list[Line]:
    """The newest lines, newest first."""
    request = _request(function, question)
    found = [_line(function, entry) async for entry in mesh.deploy.ReadLogs(request)]
    return found[: -question.limit - 1 : -1]


async def followed(
    mesh: Caller, function: function_pb2.Function, question: LineQuestion, after: int
) -> AsyncGenerator[bytes, None]:
    """Events, a line each: those that are there, then those that come; only what is after a number where one is
    given.
    """
    request = _request(function, question)
    request.follow = True
    request.after_sequence = after
    async for entry in mesh.deploy.ReadLogs(request, timeout=_FOLLOW_S):
        yield event(_line(function, entry).model_dump_json(), number=entry.sequence)


def _request(function: function_pb2.Function, question: LineQuestion) -> deploy_pb.ReadLogsRequest:
    request = deploy_pb.ReadLogsRequest(
        parent=function.name, tail=question.limit, contains=question.query.contains, lacks=question.query.lacks
    )
    if question.start is not None:
        request.start_time.FromDatetime(question.start)
    if question.end is not None:
        request.end_time.FromDatetime(question.end)
    return request


def _line(function: function_pb2.Function, entry: deployment_pb2.LogEntry) -> Line:
    labels = {
        "function_id": function.uid,
        "workspace_id": function.name.split("/")[1],
        "revision": str(entry.revision),
        "instance": entry.instance,
        "stream": _STREAMS.get(entry.stream, "stdout"),
    }
    if entry.trace_id:
        labels["trace_id"] = entry.trace_id
    return Line(timestamp=convert.time_of(entry.write_time), line=entry.text, labels=labels)


def _series(current: float, times: list[str], values: list[float]) -> Series:
    samples = [Sample(timestamp=at, value=value) for at, value in zip(times, values, strict=True)]
    return Series(current=current, series=samples)
