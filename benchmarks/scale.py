"""What one request, one function and one record cost each part: the numbers that docs/scale.md multiplies."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from benchmarks.control import EXECUTIONS, invoke_database, record
from benchmarks.lane import CONNECTIONS, PATH, deploy_reference, load
from benchmarks.many import register
from benchmarks.memory import proportional_bytes
from benchmarks.mesh_process import RunningMesh, running_mesh
from benchmarks.postgres import PostgresError, postgres_server
from benchmarks.report import Row
from benchmarks.turns import Plan, median

_FUNCTIONS = 10_000
_SETTLE_S = 5.0
_SERVING = ("envoy", "invoke", "workload")


def measure(plan: Plan) -> list[Row]:
    """CPU time of a request and memory of a registered function, by process; disk and time of a record."""
    with running_mesh() as mesh:
        deploy_reference(mesh)
        load(mesh.address, PATH, CONNECTIONS, 1.0)
        rounds = [_cpu_us(mesh, plan.seconds) for _ in range(plan.rounds)]
        time.sleep(_SETTLE_S)
        before = _memory(mesh)
        asyncio.run(register(mesh, _FUNCTIONS))
        time.sleep(_SETTLE_S)
        grown = {name: (used - before[name]) / _FUNCTIONS for name, used in _memory(mesh).items()}
        back_s = _back_s(mesh)
        uid = mesh.fnmesh("show", "reference")["function"]["uid"]
        disk = mesh.place.root / "data/db"
        registry_bytes = _size(disk, "registry") / _FUNCTIONS
        empty = _size(disk, "invoke")
        kept = {"SQLite": f"{asyncio.run(record(invoke_database(mesh), uid)):,.0f} a second"}
        record_bytes = (_size(disk, "invoke") - empty) / EXECUTIONS
    kept["PostgreSQL"] = _kept_by_postgres(uid)
    cpu = {name: median([one[name] for one in rounds]) for name in rounds[0]}
    others = sum(cost for name, cost in cpu.items() if name not in _SERVING)
    return [
        *(Row(f"CPU time of a request, {name}", f"{cpu[name]:.0f} µs") for name in _SERVING),
        Row("CPU time of a request, all other processes together", f"{others:.0f} µs"),
        *(Row(f"memory of a registered function, {name}", f"{size / 1024:.1f} KiB") for name, size in grown.items()),
        Row("disk of a registered function, registry", f"{registry_bytes / 1024:.1f} KiB"),
        Row("disk of an execution record, invoke", f"{record_bytes:.0f} bytes"),
        *(Row(f"execution records written, {name}", rate) for name, rate in kept.items()),
        Row(f"{_FUNCTIONS:,} functions: from kill -9 of invoke_svc to the next 200", f"{back_s:.1f} s"),
    ]


def _cpu_us(mesh: RunningMesh, seconds: float) -> dict[str, float]:
    """Microseconds of CPU time, by process, for each request of one run of load."""
    pids = mesh.processes() | {"workload": int(mesh.ready_instance("reference")["handle"].partition("@")[0])}
    before = {name: _cpu_s(pid) for name, pid in pids.items()}
    requests = load(mesh.address, PATH, CONNECTIONS, seconds)["requests"]
    return {name: (_cpu_s(pid) - before[name]) / requests * 1e6 for name, pid in pids.items()}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(mesh: RunningMesh) -> dict[str, int]:
    return {name: proportional_bytes(pid) for name, pid in mesh.processes().items()}


def _back_s(mesh: RunningMesh) -> float:
    """How long nothing is served when invoke_svc is killed: it starts anew and is told all functions."""
    os.kill(mesh.processes()["invoke"], 9)
    began = time.monotonic()
    while load(mesh.address, PATH, 1, 0.01)["requests"] < 1:
        if time.monotonic() - began > 120:
            raise TimeoutError("invoke_svc did not come back.")
    return time.monotonic() - began


def _kept_by_postgres(function_uid: str) -> str:
    try:
        with postgres_server() as server, server.database() as url:
            return f"{asyncio.run(record(url, function_uid)):,.0f} a second"
    except PostgresError as error:
        return f"not measured: {error}"


def _size(directory: Path, service: str) -> int:
    return sum(path.stat().st_size for path in directory.glob(f"{service}.db*"))
