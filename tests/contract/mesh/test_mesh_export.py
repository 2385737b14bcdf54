"""Spans reach the gateway's receiver over its socket, with the service token."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc

from mesh import telemetry
from mesh.auth import Authenticator, ServiceToken
from mesh.rpc_server import serve
from mesh.settings import MeshSettings

TOKEN = ServiceToken("t" * 32)


class Receiver(otlp_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.names: list[str] = []

    async def Export(self, request: Any, context: Any) -> otlp_pb.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.names += [one.name for one in scope.spans]
        return otlp_pb.ExportTraceServiceResponse()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_spans_are_exported(kind: str, tmp_run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    receiver = Receiver()
    async with serve(
        f"unix:{tmp_run_dir}/g.sock" if kind == "unix" else "127.0.0.1:0",
        lambda server: otlp_grpc.add_TraceServiceServicer_to_server(receiver, server),
        public_services=(),
        internal_services=("opentelemetry.proto.collector.trace.v1.TraceService",),
        auth=Authenticator("off", TOKEN),
        drain_s=1,
    ) as bound:
        settings = MeshSettings(gateway_address=bound.address, trace_rate=100)
        traces = telemetry.setup("thing", settings, token=TOKEN.value)
        with telemetry.span("outer"), telemetry.span("inner"):
            pass
        await asyncio.to_thread(traces.shutdown, 10)
    assert sorted(receiver.names) == ["inner", "outer"]
