"""A mesh with a Loki beside it: lines are sent there and read there; where it does not answer, the mesh does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support.eventually import eventually_sync
from tests.support.loki import LokiServer, running_loki
from tests.support.running_mesh import RunningMesh
from tests.support.sources import MakeSource

HELLO = 'def handler(event):\n    print("said", event["word"])\n    return "hello"\n'


@pytest.fixture
def loki() -> Iterator[LokiServer]:
    with running_loki() as server:
        yield server


@pytest.fixture
def mesh_with_loki(loki: LokiServer) -> Iterator[RunningMesh]:
    running = RunningMesh(environ={"LOKI_SERVICE_URL": loki.url})
    try:
        yield running.start()
    finally:
        running.remove()


def test_lines_are_sent_to_loki_and_read_there(
    mesh_with_loki: RunningMesh, loki: LokiServer, make_source: MakeSource
) -> None:
    with Mesh(mesh_with_loki.server) as client, httpx.Client(base_url=mesh_with_loki.url, trust_env=False) as http:
        client.deploy(make_source("told", **{"handler.py": HELLO}), name="told", target="process").wait()
        uid = client.show("told").uid
        client.invoke("told", {"word": "this"})

        def answer() -> dict[str, Any]:
            got = http.get(f"/api/functions/{uid}/loki-logs", params={"query": "said", "limit": 1}, timeout=30)
            assert got.status_code == 200, got.text
            found: dict[str, Any] = got.json()
            return found

        found = eventually_sync(lambda: (got := answer())["logs"] and got, 15)
        assert found is not None
        assert set(found) == {"function_id", "logs", "source"}
        assert (found["source"], found["logs"][0]["line"]) == ("loki", "said this")
        assert found["logs"][0]["labels"]["function_id"] == uid
        assert found["logs"][0]["labels"]["stream"] == "stdout"
        assert len(found["logs"][0]["labels"]["trace_id"]) == 32

        loki.hang()
        client.invoke("told", {"word": "that"})
        slow = eventually_sync(lambda: (got := answer())["logs"][0]["line"] == "said that" and got, 20)
        assert slow is not None
        assert slow["source"] == "builtin"
        assert slow["degraded"] == "Loki did not answer within 1.5 s; this is what the mesh has itself."

        loki.go()
        caught_up = eventually_sync(
            lambda: (got := answer())["source"] == "loki" and got["logs"][0]["line"] == "said that" and got, 30
        )
        assert caught_up is not None
        assert "degraded" not in caught_up
