"""The page that a Prometheus scrapes: what the caller may see of functions, in the text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from fnmesh.deploy.v1 import usage_service_pb2 as usage_pb
from fnmesh.invoke.v1 import stats_service_pb2 as stats_pb
from fnmesh.registry.v1 import function_pb2
from gateway.domain import SERVICES
from gateway.rest import listings
from gateway.rest.caller import Mesh
from gateway.rest.problems import answers

router = APIRouter(tags=["logs and metrics"])
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ALL = "workspaces/-/functions/-"
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]
"""What is after the name of the metric, labels, value."""


class Page(PlainTextResponse):
    """Prometheus' text format."""

    media_type = CONTENT_TYPE


@router.get(
    "/metrics",
    response_class=Page,
    responses=answers() | {200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}},
    summary="Counters of functions, for Prometheus",
)
async def scrape(mesh: Mesh, request: Request) -> Page:
    missing: Callable[[], tuple[str, ...]] = request.app.state.missing
    functions = [one async for one in listings.functions(mesh, listings.EVERYWHERE)]
    totals = await mesh.stats.ListFunctionTotals(stats_pb.ListFunctionTotalsRequest(parent=_ALL))
    usage = await mesh.usage.ListFunctionUsage(usage_pb.ListFunctionUsageRequest(parent=_ALL))
    lines = [
        *_family(
            "fnmesh_service_up",
            "gauge",
            "Whether a service of the mesh has a member.",
            [("", {"service": name}, float(name not in missing())) for name in SERVICES],
        ),
        *_ran(functions, {one.function: one for one in totals.totals}, totals.bucket_bounds_seconds),
        *_used(functions, {one.function: one for one in usage.functions}),
    ]
    return Page("\n".join(lines) + "\n", media_type=CONTENT_TYPE)


def _labels(function: function_pb2.Function) -> Labels:
    return {
        "function_id": function.uid,
        "function": function.display_name,
        "workspace_id": function.name.split("/")[1],
    }


def _ran(
    functions: Sequence[function_pb2.Function], totals: Mapping[str, stats_pb.FunctionTotals], bounds: Sequence[float]
) -> Iterable[str]:
    """Counters of every function: one that never ran is there with 0, so that its first runs are seen to come."""
    runs: list[Sample] = []
    failures: list[Sample] = []
    times: list[Sample] = []
    for function in functions:
        one, labels = totals.get(function.name, stats_pb.FunctionTotals()), _labels(function)
        runs.append(("_total", labels, one.invocations))
        failures.append(("_total", labels, one.failures))
        within = {bucket.upper_bound_seconds: bucket.invocations for bucket in one.buckets}
        times += [("_bucket", {**labels, "le": f"{bound:g}"}, within.get(bound, 0)) for bound in bounds]
        times.append(("_bucket", {**labels, "le": "+Inf"}, one.invocations))
        times.append(("_sum", labels, one.duration_seconds))
        times.append(("_count", labels, one.invocations))
    yield from _family("fnmesh_function_invocations", "counter", "Runs of a function.", runs)
    yield from _family("fnmesh_function_errors", "counter", "Runs of a function that failed.", failures)
    yield from _family(
        "fnmesh_function_duration_seconds", "histogram", "From arrival to the last byte of the answer.", times
    )


def _used(functions: Sequence[function_pb2.Function], usage: Mapping[str, usage_pb.FunctionUsage]) -> Iterable[str]:
    each = [(_labels(one), usage.get(one.name, usage_pb.FunctionUsage())) for one in functions]
    yield from _family(
        "fnmesh_function_instances",
        "gauge",
        "Instances of a function that run.",
        [("", labels, one.instances) for labels, one in each],
    )
    yield from _family(
        "fnmesh_function_cpus",
        "gauge",
        "CPUs that its instances use; 1 is one of them all the time.",
        [("", labels, one.current.cpus) for labels, one in each],
    )
    yield from _family(
        "fnmesh_function_memory_bytes",
        "gauge",
        "Memory that its instances use.",
        [("", labels, one.current.memory_bytes) for labels, one in each],
    )


def _family(name: str, kind: str, told: str, samples: Sequence[Sample]) -> Iterable[str]:
    shown = f"{name}_total" if kind == "counter" else name
    yield f"# HELP {shown} {told}"
    yield f"# TYPE {shown} {kind}"
    for suffix, labels, value in samples:
        inside = ",".join(f'{key}="{text.translate(_ESCAPED)}"' for key, text in labels.items())
        yield f"{name}{suffix}{{{inside}}} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
