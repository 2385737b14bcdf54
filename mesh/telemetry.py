"""Traces: sampled by rate, exported in batches, and nothing started that is not sampled.

`setup(...)` is called once, by `mesh.main`; without it `span(...)` costs next to nothing and exports nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from mesh import addresses

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler

Attribute = str | bool | int | float
Metadata = Sequence[tuple[str, str | bytes]]
TRACEPARENT = "traceparent"
WORKSPACE = "fnmesh.workspace"
"""Attribute: the workspace (`ws-...`) that a span, and all below it, belongs to. Says which keys may read it."""

_workspace: ContextVar[str] = ContextVar("fnmesh_trace_workspace", default="")
_NOT_SAMPLED = NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)


class TelemetrySettings(Protocol):
    """The settings that decide where traces go and how many there are."""

    @property
    def trace_rate(self) -> float: ...
    @property
    def trace_share(self) -> float: ...
    @property
    def gateway_address(self) -> str: ...


class Telemetry:
    """The tracing of this process; `shutdown()` sends what is left."""

    def __init__(self, provider: TracerProvider | None) -> None:
        self._provider = provider

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """Sends the spans that are left, for at most so long. Blocks; safe to call twice."""
        global _tracer
        provider, self._provider, _tracer = self._provider, None, None
        if provider is not None:
            sender = threading.Thread(target=provider.shutdown, daemon=True)
            sender.start()
            sender.join(timeout_s)


_tracer: trace.Tracer | None = None


def setup(
    service: str,
    settings: TelemetrySettings,
    *,
    token: str | None = None,
    exporter: SpanExporter | None = None,
) -> Telemetry:
    """Begins to trace this process as `service`.

    Spans go to OTEL_EXPORTER_OTLP_ENDPOINT, and where that is not set to the gateway's own receiver (with the
    service `token`). With a rate and a share of zero nothing is sampled here, and no exporter thread is
    started. `exporter` replaces both, for tests.
    """
    global _tracer
    if settings.trace_rate <= 0 and settings.trace_share <= 0:
        _tracer = None
        return Telemetry(None)
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    provider = TracerProvider(
        sampler=make_sampler(settings.trace_rate, settings.trace_share),
        resource=Resource({"service.name": service}),
        shutdown_on_exit=False,
    )
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    else:
        provider.add_span_processor(
            BatchSpanProcessor(_otlp_exporter(settings.gateway_address, token), schedule_delay_millis=500)
        )
    _tracer = provider.get_tracer("fnmesh")
    return Telemetry(provider)


def _otlp_exporter(gateway_address: str, token: str | None) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return OTLPSpanExporter()
    headers = {"x-fnmesh-service-token": token} if token else None
    target = addresses.grpc_target(gateway_address)
    endpoint = f"http://{target}" if target == gateway_address and ":/" not in target else target
    return OTLPSpanExporter(endpoint=endpoint, insecure=True, headers=headers, timeout=2)


class RateGate:
    """Lets `rate` things a second through, and of the rest a share, chosen by trace id."""

    def __init__(self, rate: float, share: float) -> None:
        self._rate, self._share = rate, share
        self._tokens, self._filled = rate, time.monotonic()
        self._lock = threading.Lock()

    def admits(self, trace_id: int, now: float | None = None) -> bool:
        """Whether the trace with that id, beginning now (monotonic seconds), is sampled."""
        now = time.monotonic() if now is None else now
        with self._lock:
            burst = max(1.0, self._rate)
            self._tokens = min(burst, self._tokens + max(0.0, now - self._filled) * self._rate)
            self._filled = now
            if self._rate > 0 and self._tokens >= 1:
                self._tokens -= 1
                return True
        return (trace_id & 0xFFFF_FFFF_FFFF_FFFF) < self._share * 2**64


def make_sampler(rate: float, share: float) -> Sampler:
    """A sampler that follows the parent, and takes roots through a `RateGate`."""
    from opentelemetry.sdk.trace import sampling

    gate = RateGate(rate, share)

    class RateSampler(sampling.Sampler):
        def should_sample(
            self, parent_context: Context | None, trace_id: int, *args: object, **kwargs: object
        ) -> sampling.SamplingResult:
            admitted = gate.admits(trace_id)
            return sampling.SamplingResult(sampling.Decision.RECORD_AND_SAMPLE if admitted else sampling.Decision.DROP)

        def get_description(self) -> str:
            return f"RateSampler({rate}, {share})"

    return sampling.ParentBased(root=RateSampler())


def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, *, workspace: str = "", **attributes: Attribute
) -> AbstractContextManager[Span]:
    """A span around a step that takes time. Not started where the trace is not sampled.

    `workspace` says whose it is, where what it is within does not say so already.
    An exception that passes through it is recorded on it by its type only (its text may hold user data).
    """
    tracer = _tracer
    if tracer is None:
        return nullcontext(_NOT_SAMPLED)
    parent = trace.get_current_span().get_span_context()
    if parent.is_valid and not parent.trace_flags.sampled:
        return nullcontext(_NOT_SAMPLED)
    workspace = workspace or _workspace.get()
    return _started(tracer, name, kind, attributes | {WORKSPACE: workspace} if workspace else attributes)


@contextmanager
def _started(tracer: trace.Tracer, name: str, kind: SpanKind, attributes: Mapping[str, Attribute]) -> Iterator[Span]:
    with tracer.start_as_current_span(
        name, kind=kind, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
    ) as one:
        try:
            yield one
        except BaseException as error:
            if not isinstance(error, GeneratorExit):
                one.set_status(trace.StatusCode.ERROR, getattr(error, "reason", type(error).__name__))
            raise


def emit_span(
    name: str,
    parent: SpanContext | None,
    start_ns: int,
    end_ns: int,
    *,
    error: str = "",
    kind: SpanKind = SpanKind.INTERNAL,
    **attributes: Attribute,
) -> None:
    """A span that is over already, for hot paths that measure by themselves. Times are Unix nanoseconds."""
    tracer = _tracer
    if tracer is None or (parent is not None and not parent.trace_flags.sampled):
        return
    context = otel_context.Context()
    if parent is not None:
        context = trace.set_span_in_context(NonRecordingSpan(parent), context)
    one = tracer.start_span(name, context=context, kind=kind, attributes=dict(attributes), start_time=start_ns)
    if error:
        one.set_status(trace.StatusCode.ERROR, error)
    one.end(end_time=end_ns)


def current_context() -> SpanContext:
    """The span that is being worked in; not valid where there is none."""
    return trace.get_current_span().get_span_context()


def current_trace_id() -> str:
    """Trace that is being worked in, 32 hex digits, sampled or not; empty where there is none."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def current_span_id() -> str:
    """Span that is being worked in, 16 hex digits; empty where there is none."""
    context = trace.get_current_span().get_span_context()
    return f"{context.span_id:016x}" if context.is_valid else ""


def format_traceparent(context: SpanContext) -> str:
    """The W3C `traceparent` of a span; empty where it is not valid."""
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"


def parse_traceparent(value: str) -> SpanContext | None:
    """The span that a W3C `traceparent` names; None where it is not well formed."""
    parts = value.strip().split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or parts[0] == "ff":
        return None
    if value.strip() != value.strip().lower():
        return None
    try:
        trace_id, span_id, flags = int(parts[1], 16), int(parts[2], 16), int(parts[3], 16)
    except ValueError:
        return None
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & 1))
    return context if context.is_valid else None


def inject() -> list[tuple[str, str]]:
    """Metadata that carries the current span to another process; empty where there is none."""
    value = format_traceparent(current_context())
    return [(TRACEPARENT, value)] if value else []


def extract(metadata: Metadata) -> SpanContext | None:
    """The span that metadata carries; None where there is none."""
    for key, value in metadata:
        if key == TRACEPARENT:
            return parse_traceparent(value if isinstance(value, str) else value.decode("latin-1"))
    return None


def enter(parent: SpanContext | None, workspace: str = "") -> None:
    """Makes a remote span (or none) the current one for the rest of this task. For servers and loops.

    Spans begun in it belong to the workspace, if one is given.
    """
    _workspace.set(workspace)
    base = otel_context.Context()
    otel_context.attach(base if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), base))


@contextmanager
def within(traceparent: str, workspace: str = "") -> Iterator[None]:
    """Within it the span that a stored `traceparent` names is the current one: work resumed from a row.

    Spans begun in it belong to the workspace, if one is given.
    """
    parent = parse_traceparent(traceparent) if traceparent else None
    base = otel_context.Context()
    token = otel_context.attach(base if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), base))
    owner = _workspace.set(workspace)
    try:
        yield
    finally:
        _workspace.reset(owner)
        otel_context.detach(token)
