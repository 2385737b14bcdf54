"""The OTLP/gRPC trace receiver, for Envoy and the services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from gateway.telemetry.store import StoredSpan, TraceStore

OTLP_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
# Not traced itself, or every export would make spans to export.
OTLP_METHOD = f"/{OTLP_SERVICE}/Export"


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Puts what is exported into the store."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        refused = self._store.add(_spans(request))
        response = trace_service_pb2.ExportTraceServiceResponse()
        if refused:
            response.partial_success.rejected_spans = refused
            response.partial_success.error_message = "the trace has too many spans"
        return response


def _spans(request: trace_service_pb2.ExportTraceServiceRequest) -> Iterator[tuple[bytes, StoredSpan]]:
    for resource_spans in request.resource_spans:
        service = _service(resource_spans)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if len(span.trace_id) == 16:
                    yield span.trace_id, StoredSpan(service, span.SerializeToString())


def _service(resource_spans: trace_pb2.ResourceSpans) -> str:
    for attribute in resource_spans.resource.attributes:
        if attribute.key == "service.name":
            return str(attribute.value.string_value)
    return ""
