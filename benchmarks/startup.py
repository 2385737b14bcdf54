"""`fnmesh up` to ready, on a data directory that a mesh with a function has used before."""

from __future__ import annotations

import time

from benchmarks.lane import deploy_reference
from benchmarks.mesh_process import mesh_place
from benchmarks.report import Row, at_most
from benchmarks.turns import Plan, median, spread


def measure(plan: Plan) -> list[Row]:
    """Wall-clock time of the command, its own start included, to its `ready` line."""
    took: list[float] = []
    with mesh_place() as place:
        with place.up() as mesh:
            deploy_reference(mesh)
        for _ in range(plan.rounds):
            began = time.perf_counter()
            with place.up():
                took.append(time.perf_counter() - began)
    return [at_most("`fnmesh up` to ready, warm data directory", median(took), 5, f"{spread(took)} s", "s")]
