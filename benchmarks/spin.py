"""Spin functions: what a build takes beside its bare steps, a start from zero, requests, and memory at zero.

A build of ours does more than its three programs (it unpacks, checks, composes, packs and stores), but runs mypy
beside componentize-py. The bare steps are the toolchain's own programs on such code, one after another: mypy with the
cache that the builder has, too. Requests go to a fresh instance of the component each; the bare server is the command
line of our instance, on a port of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

from benchmarks.children import ending, free_port
from benchmarks.lane import load
from benchmarks.memory import proportional_bytes
from benchmarks.mesh_process import Place, RunningMesh, mesh_place, running_mesh
from benchmarks.probe import first_200, request
from benchmarks.report import Row, at_least, at_most
from benchmarks.turns import Plan, in_turns, median, ratios, spread
from build_svc.spin.tools import mypy_arguments, mypy_configuration
from runtimes.spin.compose import compose

_ALIVE = ("INSTANCE_STATE_STARTING", "INSTANCE_STATE_READY", "INSTANCE_STATE_DRAINING")
_CONNECTIONS = 16
_STARTS = 3  # from zero, in each round
_FUNCTIONS = 20
_SETTLE_S = 5.0
_MIB = 1024 * 1024
_CODE = '''\
"""{mark}"""

from spin_sdk import http
from spin_sdk.http import Request, Response


class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request: Request) -> Response:
        return Response(200, {{"content-type": "text/plain"}}, b"{mark}")
'''
_COMPONENTIZE = "import sys; sys.path.insert(0, sys.argv.pop(1)); import componentize_py; componentize_py.script()"
_MYPY = "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('mypy', run_name='__main__')"


def measure(plan: Plan) -> list[Row]:
    """All of it, on meshes of their own."""
    with running_mesh() as mesh:
        missing = mesh.lacks_target("spin")
        if missing:
            return [Row("Spin functions", f"not measured: {missing}")]
        sources = _Sources(mesh)
        sources.build()  # installs the toolchain
        rows = _builds(sources, plan)
        rows += _starts(mesh, plan)
        rows += _requests(mesh, plan)
    return rows + _at_zero(plan)


class _Sources:
    """Sources that no build has seen, built by the mesh and by hand."""

    def __init__(self, mesh: RunningMesh) -> None:
        self._mesh = mesh
        self._numbers = count(1)
        self._text = ""

    def build(self) -> float:
        """Seconds of the build of a new source, by the build's own times."""
        self._text = _CODE.format(mark=f"answer {next(self._numbers)}")
        return self._deploy()

    def again(self) -> float:
        """Seconds of a build of the source of before."""
        return self._deploy()

    def _deploy(self) -> float:
        with _source(self._text) as directory:
            source = str(directory / "app.py")
            build = self._mesh.fnmesh("deploy", source, "--name", "built", "--runtime", "spin")["build"]
        return _seconds(build["startTime"], build["endTime"])

    def bare(self) -> float:
        """Seconds of mypy, componentize-py and the compiler on a new source, one after another."""
        (tools,) = [one for one in self._tools() if not one.name.endswith("-mypy")]
        text = _CODE.format(mark=f"answer {next(self._numbers)}")
        with _source(text) as directory:
            cache = directory / "cache"
            shutil.copytree(tools.with_name(f"{tools.name}-mypy"), cache)
            sdk = tools / "sdk"
            env = {**os.environ, "VIRTUAL_ENV": str(sdk), "MYPYPATH": str(sdk / "lib/site-packages")}
            (directory / "mypy.ini").write_text(mypy_configuration([]))
            options = mypy_arguments("3.12", cache, directory / "mypy.ini")
            program, steps = sys.executable, str(tools / "programs")
            took = _run([program, "-c", _MYPY, steps, *options, "app.py"], directory, env)
            words = ["-w", "spin-http", "componentize", "app", "-o", "app.wasm"]
            took += _run([program, "-c", _COMPONENTIZE, steps, *words], directory, env)
            (directory / "composed.wasm").write_bytes(compose((directory / "app.wasm").read_bytes()))
            compiling = [_host(self._mesh), "compile", "-W", "epoch-interruption=y", "-o", "app.cwasm", "composed.wasm"]
            return took + _run(compiling, directory, env)

    def _tools(self) -> list[Path]:
        return list((self._mesh.place.root / "data/build/toolchain").glob("spin-*"))


def _builds(sources: _Sources, plan: Plan) -> list[Row]:
    took = in_turns({"ours": sources.build, "bare": sources.bare}, plan.rounds)
    share = ratios(took["ours"], took["bare"])
    sources.build()
    unchanged = [sources.again() for _ in range(plan.rounds)]
    return [
        Row("build of hello, warm toolchain", f"{spread(took['ours'])} s"),
        Row("mypy, componentize-py, wasmtime compile, one after another", f"{spread(took['bare'])} s"),
        at_most("build ÷ the sum of its bare steps", median(share), 1.15, spread(share)),
        at_most("build of an unchanged source", median(unchanged), 0.5, f"{spread(unchanged)} s", "s"),
    ]


def _starts(mesh: RunningMesh, plan: Plan) -> list[Row]:
    with _source(_CODE.format(mark="cold")) as directory:
        mesh.fnmesh("deploy", str(directory / "app.py"), "--name", "cold", "--runtime", "spin", "--idle-ttl", "3s")
    took = []
    for _ in range(plan.rounds * _STARTS):
        _until_none_runs(mesh, "cold")
        began = time.perf_counter()
        status, _ = request(mesh.address, "/api/cold")
        took.append(1000 * (time.perf_counter() - began))
        if status != 200:
            raise RuntimeError(f"the function answered {status}")
    return [at_most("from zero to the first 200, p50", median(took), 150, f"{spread(took, '{:.0f}')} ms", "ms")]


def _requests(mesh: RunningMesh, plan: Plan) -> list[Row]:
    with _source(_CODE.format(mark="warm")) as directory:
        mesh.fnmesh(
            "deploy", str(directory / "app.py"), "--name", "warm", "--runtime", "spin", "--min-instances", "1",
            "--concurrency", str(2 * _CONNECTIONS),
        )  # fmt: skip
    pid = mesh.ready_instance("warm")["handle"].partition(":")[0]
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    at = words.index("--addr") + 1
    bare = f"127.0.0.1:{free_port()}"
    command = [*words[:at], bare, *words[at + 1 :]]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with ending(server):
        first_200(bare, "/api/warm")
        runs = in_turns(
            {
                "mesh": lambda: load(mesh.address, "/api/warm", _CONNECTIONS, plan.seconds),
                "bare": lambda: load(bare, "/api/warm", _CONNECTIONS, plan.seconds),
            },
            plan.rounds,
        )
    rates = {name: [one["rps"] for one in found] for name, found in runs.items()}
    share = ratios(rates["mesh"], rates["bare"])
    return [
        Row(f"a fresh instance a request, {_CONNECTIONS} connections", f"{median(rates['mesh']):,.0f} rps"),
        Row("bare wasmtime serve of the same component", f"{median(rates['bare']):,.0f} rps"),
        at_least("mesh ÷ bare wasmtime serve", median(share), 0.7, spread(share)),
        Row("answers other than 200", f"{sum(int(one['errors']) for found in runs.values() for one in found)}"),
    ]


def _at_zero(plan: Plan) -> list[Row]:
    """Two data directories, an empty one and one with functions at zero; a mesh on each in turns."""
    with mesh_place() as empty, mesh_place() as filled:
        with filled.up() as mesh, _source(_CODE.format(mark="zero")) as directory:
            for number in range(_FUNCTIONS):
                mesh.fnmesh(
                    "deploy", str(directory / "app.py"), "--name", f"zero-{number}", "--runtime", "spin",
                    "--idle-ttl", "3s",
                )  # fmt: skip
            for number in range(_FUNCTIONS):
                _until_none_runs(mesh, f"zero-{number}")
        found = in_turns({"empty": lambda: _idle_mib(empty), "filled": lambda: _idle_mib(filled)}, plan.rounds)
    more = [a - b for a, b in zip(found["filled"], found["empty"], strict=True)]
    what = f"{_FUNCTIONS} functions at zero, more than an empty mesh (PSS)"
    return [at_most(what, median(more), 20, f"{spread(more, '{:.1f}')} MiB", "MiB")]


def _idle_mib(place: Place) -> float:
    with place.up() as mesh:
        time.sleep(_SETTLE_S)
        return sum(proportional_bytes(pid) for pid in mesh.processes().values()) / _MIB


def _until_none_runs(mesh: RunningMesh, name: str) -> None:
    deadline = time.monotonic() + 60
    while any(one["state"] in _ALIVE for one in mesh.fnmesh("show", name)["deployment"]["instances"]):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} was not scaled to zero.")


def _host(mesh: RunningMesh) -> str:
    """The wasmtime that the mesh runs components with."""
    found = shutil.which("wasmtime")
    return found or str(next((mesh.place.root / "data").rglob("wasmtime*/wasmtime")))


def _run(command: list[str], directory: Path, env: Mapping[str, str]) -> float:
    """How many seconds a program takes."""
    began = time.perf_counter()
    subprocess.run(command, cwd=directory, env=env, check=True, capture_output=True)
    return time.perf_counter() - began


@contextmanager
def _source(text: str) -> Iterator[Path]:
    """A directory with app.py in it."""
    with tempfile.TemporaryDirectory(prefix="fnm-bench-") as scratch:
        Path(scratch, "app.py").write_text(text)
        yield Path(scratch)


def _seconds(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
