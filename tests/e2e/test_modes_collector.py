"""OTEL_EXPORTER_OTLP_ENDPOINT: the mesh's spans go to somebody else's collector."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.e2e.conftest import MakeSource
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

HELLO = """
    def handler(event):
        return {"traceparent": event["headers"].get("traceparent", "")}
"""


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what is exported to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[tuple[str, trace_pb2.Span]] = []
        self.metadata: list[dict[str, str]] = []

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        with self._lock:
            self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
            for one in request.resource_spans:
                names = [at.value.string_value for at in one.resource.attributes if at.key == "service.name"]
                self._spans += [(names[0], span) for scope in one.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self, trace_id: str = "") -> list[tuple[str, trace_pb2.Span]]:
        with self._lock:
            return [one for one in self._spans if trace_id in ("", one[1].trace_id.hex())]


@pytest.fixture(scope="module")
def exporting() -> Iterator[tuple[RunningMesh, Collector]]:
    """A mesh and the collector that it sends its spans to."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    running = RunningMesh(
        environ={
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-collector-key=abc%20def",
        }
    )
    try:
        yield running.start(), collector
        assert running.stop() == 0, running.errors()
    finally:
        running.remove()
        server.stop(None).wait()


def test_spans_of_a_request_are_one_tree_at_the_collector(
    exporting: tuple[RunningMesh, Collector], make_source: MakeSource
) -> None:
    mesh, collector = exporting
    source = str(make_source("exported", **{"handler.py": HELLO}))
    url = mesh.cli("deploy", source, "--target", "process").stdout.strip()

    answer = httpx.get(f"{url}?token=hush", trust_env=False)
    trace_id = answer.headers["x-trace-id"]
    eventually_sync(lambda: {"envoy", "invoke"} <= {name for name, _ in collector.spans(trace_id)}, 15)
    spans = collector.spans(trace_id)

    known = {span.span_id for _, span in spans}
    assert len([span for _, span in spans if span.parent_span_id not in known]) == 1
    assert answer.json()["traceparent"].split("-")[1] == trace_id
    assert all("hush" not in str(span) for _, span in spans)
    wanted = {"envoy", "registry", "build", "deploy", "invoke"}
    eventually_sync(lambda: wanted <= {name for name, _ in collector.spans()}, 15)


def test_collector_gets_its_own_header_and_not_the_mesh_token(exporting: tuple[RunningMesh, Collector]) -> None:
    mesh, collector = exporting
    httpx.get(f"{mesh.url}/health", trust_env=False)
    eventually_sync(lambda: {name for name, _ in collector.spans()} >= {"envoy", "registry"}, 15)

    assert all(one.get("x-collector-key") == "abc def" for one in collector.metadata)
    assert not [one for one in collector.metadata if any("fnmesh" in key for key in one)]


def test_trace_command_says_where_traces_went(
    exporting: tuple[RunningMesh, Collector], make_source: MakeSource
) -> None:
    mesh, _ = exporting
    trace_id = httpx.get(f"{mesh.url}/api/nothing", trust_env=False).headers["x-trace-id"]

    done = mesh.cli("trace", trace_id, check=False)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in done.stderr
    assert "collector" in done.stderr
