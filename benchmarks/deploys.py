"""How long `fnmesh deploy` takes to the first 200."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.mesh_process import RunningMesh, running_mesh
from benchmarks.probe import request
from benchmarks.report import Row, at_most
from benchmarks.turns import Plan, in_turns, median, spread

LIBRARY = "six==1.17.0"
LIMITS_S = {"process": 2.0, "docker": 4.0}


def measure(plan: Plan) -> list[Row]:
    """On each target in turns: a new function, a changed source over it, and a new one with an unchanged library."""
    rows = []
    with running_mesh() as mesh:
        for target, limit_s in LIMITS_S.items():
            missing = mesh.lacks_target(target)
            if missing:
                rows.append(Row(f"`fnmesh deploy` to the first 200, {target}", f"not measured: {missing}"))
                continue
            deploys = _Deploys(mesh, target)
            deploys.with_library()  # installs it, and makes the base of the target's images
            ways = {
                f"`fnmesh deploy` to the first 200, {target}": deploys.new,
                f"the same over the function of before, changed source, {target}": deploys.changed,
                f"the same with a library that is not changed, {target}": deploys.with_library,
            }
            for what, took in in_turns(ways, plan.rounds).items():
                rows.append(at_most(what, median(took), limit_s, f"{spread(took)} s", "s"))
    return rows


class _Deploys:
    """Deploys to one target; every one has a source that no build has seen."""

    def __init__(self, mesh: RunningMesh, target: str) -> None:
        self._mesh = mesh
        self._target = target
        self._count = 0

    def new(self) -> float:
        return self._deploy(f"new-{self._target}-{self._count + 1}")

    def changed(self) -> float:
        return self._deploy(f"same-{self._target}")

    def with_library(self) -> float:
        return self._deploy(f"library-{self._target}-{self._count + 1}", LIBRARY)

    def _deploy(self, name: str, library: str = "") -> float:
        self._count += 1
        body = f"answer {self._count}"
        with tempfile.TemporaryDirectory() as scratch:
            line = f"import {library.partition('=')[0]}\n" if library else ""
            text = f'{line}def handler(event):\n    return {{"statusCode": 200, "body": "{body}"}}\n'
            (Path(scratch) / "handler.py").write_text(text)
            if library:
                (Path(scratch) / "requirements.txt").write_text(library + "\n")
            began = time.perf_counter()
            self._mesh.fnmesh("deploy", scratch, "--name", name, "--target", self._target)
            status, found = request(self._mesh.address, f"/api/{name}")
            took = time.perf_counter() - began
        if (status, found.decode()) != (200, body):
            raise RuntimeError(f"{name} answered {status}: {found[:200]!r}")
        if not name.startswith("same-"):
            self._mesh.fnmesh("delete", name)
        return took
