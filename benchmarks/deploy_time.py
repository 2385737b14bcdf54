"""How long `fnmesh deploy` takes to the first 200, paired with starting the same server bare."""

from __future__ import annotations

import statistics
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mesh_process import RunningMesh


@dataclass(frozen=True, slots=True)
class DeployFigures:
    """Seconds from the command's start to the first 200, medians over the rounds."""

    target: str
    first_s: float
    redeploy_s: float


def _deploy(mesh: RunningMesh, target: str, name: str, body: str) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "handler.py"
        source.write_text(f'def handler(event):\n    return {{"statusCode": 200, "body": "{body}"}}\n')
        began = time.perf_counter()
        mesh.fnmesh("deploy", str(source), "--name", name, "--target", target)
        with urllib.request.urlopen(f"http://{mesh.address}/api/{name}", timeout=30) as answer:
            assert answer.read().decode() == body
        return time.perf_counter() - began


def deploy_figures(mesh: RunningMesh, target: str, *, rounds: int) -> DeployFigures:
    """Deploys a new function in each round, and then a changed source over it."""
    first: list[float] = []
    again: list[float] = []
    for number in range(rounds):
        name = f"deploy-{target}-{number}"
        first.append(_deploy(mesh, target, name, f"first {number}"))
        again.append(_deploy(mesh, target, name, f"second {number}"))
        mesh.fnmesh("delete", name)
    return DeployFigures(target, statistics.median(first), statistics.median(again))
