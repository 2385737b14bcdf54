"""The RPC lane against bare Envoy in front of the very same instance, in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bare_envoy import bare_envoy
from benchmarks.mesh_process import RunningMesh

REFERENCE = 'def handler(event):\n    return {"statusCode": 200, "body": "hello"}\n'
CONCURRENCY = 64  # above the load's, so that admission never queues


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """Medians over the rounds; `ratio` is the median of the rounds' own ratios."""

    workload_rps: float
    envoy_rps: float
    lane_rps: float
    ratio: float
    lane_p50_ms: float
    added_p50_ms: float
    errors: int


def measure(address: str, path: str, connections: int, seconds: float) -> dict[str, float]:
    """One run of benchmarks.load in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", address, path]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def lane_figures(mesh: RunningMesh, *, rounds: int, seconds: float, connections: int = 32) -> LaneFigures:
    """Deploys the reference workload and measures it three ways in each round."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "handler.py"
        source.write_text(REFERENCE)
        mesh.fnmesh(
            "deploy", str(source), "--name", "reference", "--target", "process", "--concurrency", str(CONCURRENCY)
        )
        workload = mesh.workload_address("reference")
        with bare_envoy(Path(scratch), workload) as envoy:
            path = "/api/reference"
            runs: list[tuple[dict[str, float], ...]] = []
            singles: list[float] = []
            for address in (workload, envoy, mesh.address):  # warm everything up once
                measure(address, path, connections, min(seconds, 1.0))
            for _ in range(rounds):
                runs.append(tuple(measure(a, path, connections, seconds) for a in (workload, envoy, mesh.address)))
                direct, through = (measure(a, path, 1, seconds / 2)["p50_ms"] for a in (workload, mesh.address))
                singles.append(through - direct)
    return LaneFigures(
        workload_rps=statistics.median(run[0]["rps"] for run in runs),
        envoy_rps=statistics.median(run[1]["rps"] for run in runs),
        lane_rps=statistics.median(run[2]["rps"] for run in runs),
        ratio=statistics.median(run[2]["rps"] / run[1]["rps"] for run in runs),
        lane_p50_ms=statistics.median(run[2]["p50_ms"] for run in runs),
        added_p50_ms=statistics.median(singles),
        errors=int(sum(one["errors"] for run in runs for one in run)),
    )
