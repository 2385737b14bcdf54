"""A real Prometheus scrapes the mesh, and the mesh reads from it; where it cannot, it answers itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support.eventually import eventually_sync
from tests.support.prometheus import PrometheusServer
from tests.support.running_mesh import RunningMesh
from tests.support.sources import MakeSource

pytestmark = pytest.mark.prometheus
HELLO = 'def handler(event):\n    if event.get("fail"):\n        raise ValueError("no")\n    return "hello"\n'
LINE = re.compile(r"[a-z_]+\{[^}]*\} (\d+|\d+\.\d+(e-?\d+)?|\d+e-\d+)")


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[PrometheusServer]:
    with PrometheusServer(tmp_path) as server:
        yield server


@pytest.fixture
def scraped_mesh(prometheus: PrometheusServer) -> Iterator[RunningMesh]:
    environ = {"PROMETHEUS_SERVICE_URL": prometheus.url, "FNMESH_DEPLOY_USAGE_INTERVAL_S": "0.5"}
    running = RunningMesh(environ=environ)
    try:
        yield running.start()
    finally:
        running.remove()


def test_metrics_are_read_from_prometheus(
    scraped_mesh: RunningMesh, prometheus: PrometheusServer, make_source: MakeSource
) -> None:
    with Mesh(scraped_mesh.server) as client, httpx.Client(base_url=scraped_mesh.url, trust_env=False) as http:
        client.deploy(make_source("scraped", **{"handler.py": HELLO}), name="scraped", target="process").wait()
        uid = client.show("scraped").uid

        def metrics() -> dict[str, Any]:
            answer = http.get(f"/api/functions/{uid}/metrics", timeout=30)
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        down = metrics()
        assert down["source"] == "builtin"
        assert down["degraded"] == (
            f"Prometheus does not answer at {prometheus.address}; this is what the mesh has itself."
        )

        prometheus.start(scraped_mesh.server)
        eventually_sync(lambda: prometheus.query(f'fnmesh_function_invocations_total{{function_id="{uid}"}}'), 30)
        for _ in range(10):
            client.invoke("scraped", {})
        http.post("/api/workspaces/default/functions/scraped/invoke", json={"fail": True})
        of_it = f'{{function_id="{uid}"}}'
        errors, calls = (f"fnmesh_function_{what}_total{of_it}" for what in ("errors", "invocations"))
        eventually_sync(lambda: prometheus.query(f"{errors} == 1 and on (function_id) {calls} == 11"), 30)

        def read() -> dict[str, Any] | None:
            found = metrics()
            return found if found["source"] == "prometheus" and found["invocations"] >= 11 else None

        found = eventually_sync(read, 30)
        assert found is not None
        assert set(found) == {"function_id", "cpu", "memory", "invocations", "errors", "latency_ms", "source"}
        assert found["function_id"] == uid
        assert 1 <= found["errors"] < found["invocations"] < 30  # what few samples say is stretched to the hour
        assert found["memory"]["current"] > 4 << 20
        assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]

        page = http.get("/metrics")
        assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        samples = [line for line in page.text.splitlines() if not line.startswith("#")]
        assert [line for line in samples if not LINE.fullmatch(line)] == []
        labels = f'function_id="{uid}",function="scraped",workspace_id="ws-default"'
        for line in (
            f"fnmesh_function_invocations_total{{{labels}}} 11",
            f"fnmesh_function_errors_total{{{labels}}} 1",
            f'fnmesh_function_duration_seconds_bucket{{{labels},le="+Inf"}} 11',
            f"fnmesh_function_instances{{{labels}}} 1",
            'fnmesh_service_up{service="deploy"} 1',
        ):
            assert line in samples, page.text

        prometheus.pause()
        slow = metrics()
        assert (slow["source"], slow["invocations"], slow["errors"]) == ("builtin", 11, 1)
        assert slow["degraded"] == ("Prometheus did not answer within 1.5 s; this is what the mesh has itself.")
