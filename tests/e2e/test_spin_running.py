"""A component that was built elsewhere, through Envoy: limits, failures, logs, env, and a host that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.support.errors_page import answers
from tests.support.eventually import eventually, eventually_sync
from tests.support.running_mesh import RunningMesh
from tests.support.spin_tree import PROBE

pytestmark = pytest.mark.wasmtime
TOLD = answers("Spin components")
_LOADS = 4


@pytest.fixture(scope="module")
def probe(mesh: RunningMesh) -> Iterator[RunningMesh]:
    """The function `probe`, always one instance of it."""
    mesh.cli(
        "deploy", str(PROBE), "--name", "probe", "--runtime", "spin", "--min-instances", "1", "--timeout", "2s",
        "--memory", "64Mi",
    )  # fmt: skip
    yield mesh
    mesh.cli("delete", "probe")


def handles(mesh: RunningMesh) -> list[str]:
    instances = mesh.cli_json("show", "probe")["deployment"]["instances"]
    return [one["handle"] for one in instances if one["state"] == "INSTANCE_STATE_READY"]


def test_failures_cost_one_request_and_are_told(probe: RunningMesh, http: httpx.Client) -> None:
    trapped = http.get("/api/probe?trap")
    assert (trapped.status_code, trapped.json()["reason"]) == (500, "COMPONENT_FAILED")
    exhausted = http.get("/api/probe?memory")
    assert exhausted.json()["detail"] == TOLD["a component that crashes, or wants more memory than its limit"]
    late = http.get("/api/probe?loop")
    assert (late.status_code, late.json()["reason"]) == (504, "TIMEOUT")
    denied = http.get("/api/probe?out:http://127.0.0.1:9/")
    assert denied.text == "refused 15"
    assert http.get("/api/probe?hello").text == "hello"

    def said() -> bool:
        log = probe.cli("logs", "probe").stdout
        assert "Out of memory: a request wanted" in log and "Timeout: a request was stopped" in log
        assert "http://127.0.0.1:9 is not in allowed_outbound_hosts" in log
        return True

    eventually_sync(said)


def test_output_is_found_by_the_trace_of_its_request(probe: RunningMesh, http: httpx.Client) -> None:
    one, other = (http.get(f"/api/probe?print:{word}").headers["x-trace-id"] for word in ("one", "other"))

    def said() -> bool:
        lines = probe.cli("logs", "probe", "--trace", one, "--json").stdout.splitlines()
        assert [json.loads(line)["text"] for line in lines] == ["one", "one"], lines
        return True

    eventually_sync(said)
    assert one != other


def test_env_and_secrets_are_variables(probe: RunningMesh, http: httpx.Client) -> None:
    assert "'word' is not set" in http.get("/api/probe?variable:word").text
    probe.cli("env", "set", "probe", "WORD=swordfish")

    def told() -> bool:
        return http.get("/api/probe?variable:word").text == "swordfish"

    eventually_sync(told)
    assert http.get("/api/probe?set:kept=yes").text == ""
    probe.cli("rollback", "probe", "--to", "1")
    eventually_sync(lambda: "is not set" in http.get("/api/probe?variable:word").text)
    assert http.get("/api/probe?get:kept").text == "yes"


async def test_a_killed_host_costs_only_the_requests_under_way(probe: RunningMesh) -> None:
    counts: Counter[str] = Counter()
    stop = asyncio.Event()

    async def load(client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            answer = await client.get("/api/probe?hello")
            counts["hello" if answer.text == "hello" else answer.json()["reason"]] += 1

    (before,) = await asyncio.to_thread(handles, probe)
    session = httpx.AsyncClient(base_url=probe.url, timeout=60, trust_env=False)
    async with session as client, asyncio.TaskGroup() as tasks:
        for _ in range(_LOADS):
            tasks.create_task(load(client))
        await eventually(lambda: counts["hello"] > 50)
        os.kill(int(before), signal.SIGKILL)
        after = counts["hello"]
        await eventually(lambda: counts["hello"] > after + 200, 90)
        stop.set()
    assert set(counts) <= {"hello", "WORKLOAD_CLOSED"} and counts["WORKLOAD_CLOSED"] <= 2 * _LOADS, counts
    assert await asyncio.to_thread(handles, probe) != [before]
