"""The HTTP RPC lane against the bare lane and against Envoy alone, in front of the very same instance, in turns."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.bare_envoy import bare_envoy
from benchmarks.bare_lane import bare_lane
from benchmarks.mesh_process import RunningMesh, running_mesh
from benchmarks.report import Row, at_least, at_most
from benchmarks.turns import Plan, in_turns, median, ratios, spread

REFERENCE = 'def handler(event):\n    return {"statusCode": 200, "body": "hello"}\n'
CONNECTIONS = 32
CONCURRENCY = 64  # above the load's, so that admission never queues
PATH = "/api/reference"


def load(address: str, path: str, connections: int, seconds: float) -> dict[str, float]:
    """One run of benchmarks.load in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", address, path]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def deploy_reference(mesh: RunningMesh) -> str:
    """Deploys the reference workload on the process target; returns the address of its instance."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "handler.py"
        source.write_text(REFERENCE)
        options = ("--name", "reference", "--target", "process", "--concurrency", str(CONCURRENCY))
        mesh.fnmesh("deploy", str(source), *options)
    return mesh.workload_address("reference")


def measure(plan: Plan) -> list[Row]:
    """Throughput at 32 connections four ways, and latency at one connection two ways."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="fnm-bare-") as scratch, running_mesh() as mesh:
        workload = deploy_reference(mesh)
        with bare_envoy(Path(scratch), workload, PATH) as envoy, bare_lane(Path(scratch) / "r", workload, PATH) as bare:
            places = {"workload": workload, "envoy": envoy, "bare": bare, "lane": mesh.address}
            for address in places.values():  # warm everything up once
                load(address, PATH, CONNECTIONS, min(plan.seconds, 1.0))
            many = {name: partial(load, at, PATH, CONNECTIONS, plan.seconds) for name, at in places.items()}
            busy = in_turns(many, plan.rounds)
            one = {name: partial(load, places[name], PATH, 1, plan.seconds / 2) for name in ("workload", "lane")}
            calm = in_turns(one, plan.rounds)
    return _rows(busy, calm)


def _rows(busy: dict[str, list[dict[str, float]]], calm: dict[str, list[dict[str, float]]]) -> list[Row]:
    rps = {name: [run["rps"] for run in runs] for name, runs in busy.items()}
    to_bare, to_envoy = ratios(rps["lane"], rps["bare"]), ratios(rps["lane"], rps["envoy"])
    pairs = zip(calm["lane"], calm["workload"], strict=True)
    added = [lane["p50_ms"] - alone["p50_ms"] for lane, alone in pairs]
    errors = sum(int(run["errors"]) for runs in (*busy.values(), *calm.values()) for run in runs)
    return [
        Row(f"workload alone, {CONNECTIONS} connections", f"{median(rps['workload']):,.0f} rps"),
        Row("Envoy → the same workload", f"{median(rps['envoy']):,.0f} rps"),
        Row("bare lane: the mesh's Envoy → a servicer that only forwards → it", f"{median(rps['bare']):,.0f} rps"),
        Row("lane: Envoy → invoke_svc → it", f"{median(rps['lane']):,.0f} rps"),
        at_least("lane ÷ bare lane", median(to_bare), 0.6, spread(to_bare)),
        at_least("lane ÷ (Envoy → workload)", median(to_envoy), 0.12, spread(to_envoy, "{:.3f}")),
        Row("lane, p50 at 32 connections", f"{median([run['p50_ms'] for run in busy['lane']]):.1f} ms"),
        at_most("p50 added at 1 connection", median(added), 1.5, f"{spread(added)} ms", "ms"),
        Row("answers other than 200", str(errors)),
    ]
