"""Spans: one tree where the trace is sampled, none where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mesh import telemetry
from tests.support.eventually import eventually

PARENT = "b7ad6b7169203331"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    settings = SimpleNamespace(trace_rate=1000.0, trace_share=1.0, gateway_address="")
    traces = telemetry.setup("invoke", settings, exporter=exporter)
    yield exporter
    traces.shutdown()


async def test_a_sampled_request(mesh: Any, kit: Any, spans: InMemorySpanExporter) -> None:
    workload = await mesh.function(kit.always(kit.says("HTTP/1.1 200 OK")))
    spans.clear()
    await mesh.http(headers=[("traceparent", f"00-{kit.TRACE}-{PARENT}-01")])

    def mine() -> dict[str, Any]:
        return {one.name: one for one in spans.get_finished_spans() if f"{one.context.trace_id:032x}" == kit.TRACE}

    await eventually(lambda: len(mine()) == 2)
    server, hop = mine()["invoke hello"], mine()["workload"]
    assert f"{server.parent.span_id:016x}" == PARENT
    assert hop.parent.span_id == server.context.span_id
    assert server.attributes["http.response.status_code"] == 200
    assert workload.heard[0].header("traceparent") == f"00-{kit.TRACE}-{server.context.span_id:016x}-01"


async def test_a_cold_start_and_a_failure_show(mesh: Any, kit: Any, spans: InMemorySpanExporter) -> None:
    import asyncio

    mesh.registry.put("fn-hello")
    await mesh.settled()
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(mesh.http(headers=[("traceparent", f"00-{kit.TRACE}-{PARENT}-01")]))
        await eventually(lambda: mesh.running.admission.waiting == 1)
        mesh.registry.put("fn-hello", revision=0)
    assert call.result().status == 400
    errors = {one.name: one.status.description for one in spans.get_finished_spans() if "rpc" not in one.name}
    assert errors["cold start"] == errors["invoke hello"] == "NOT_DEPLOYED"


async def test_an_unsampled_request_makes_none(mesh: Any, kit: Any, spans: InMemorySpanExporter) -> None:
    await mesh.function(kit.always(kit.says("HTTP/1.1 200 OK")))
    await mesh.http(headers=[("traceparent", f"00-{kit.TRACE}-{PARENT}-00")])
    assert not [one for one in spans.get_finished_spans() if f"{one.context.trace_id:032x}" == kit.TRACE]
