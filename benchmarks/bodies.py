"""A body of 100 MB up and down through the lane and through Envoy alone, in turns, to the very same workload.

The workload is benchmarks/raw_workload.py in the place of the instance of a deployed function, for the runtimes'
servers hold a whole body, and would hide what the lane costs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.bare_envoy import bare_envoy
from benchmarks.children import ending
from benchmarks.lane import PATH, deploy_reference
from benchmarks.memory import forget_peak, peak_bytes, resident_bytes
from benchmarks.mesh_process import running_mesh
from benchmarks.probe import connect, first_200
from benchmarks.report import Row, at_least, at_most
from benchmarks.turns import Plan, in_turns, median, ratios, spread

BYTES = 100 * 1000 * 1000
_MIB = 1024 * 1024
_PIECE = bytes(256 * 1024)
_SETTINGS = {"FNMESH_INVOKE_MAX_BODY_BYTES": str(2 * BYTES)}


def measure(plan: Plan) -> list[Row]:
    """Time of whole transfers, and how much invoke_svc grows in the meantime."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="fnm-bare-") as scratch, running_mesh(_SETTINGS) as mesh:
        workload = deploy_reference(mesh)
        with _instead(Path(workload.removeprefix("unix:"))), bare_envoy(Path(scratch), workload, PATH) as envoy:
            first_200(mesh.address, PATH)
            invoke = mesh.processes()["invoke"]
            before = resident_bytes(invoke)
            forget_peak(invoke)
            places = {"envoy": envoy, "lane": mesh.address}
            up = in_turns({name: partial(_upload_s, at) for name, at in places.items()}, plan.rounds)
            down = in_turns({name: partial(_download_s, at) for name, at in places.items()}, plan.rounds)
            grown = (peak_bytes(invoke) - before) / _MIB
    rows = []
    for way, took in (("up", up), ("down", down)):
        share = ratios(took["envoy"], took["lane"])
        alone, lane = (BYTES / 1e6 / median(took[name]) for name in places)
        rows.append(Row(f"100 MB {way}, Envoy → workload, and lane", f"{alone:,.0f} MB/s, {lane:,.0f} MB/s"))
        rows.append(at_least(f"100 MB {way}: lane ÷ (Envoy → workload)", median(share), 0.3, spread(share)))
    rows.append(at_most("greatest growth of invoke_svc meanwhile", grown, 32, f"{grown:.1f} MiB", "MiB"))
    return rows


@contextmanager
def _instead(path: Path) -> Iterator[None]:
    """Puts a raw workload in the place of an instance that listens at `path`."""
    owner = path.parent.stat().st_uid
    path.rename(path.with_name("before"))
    command = [sys.executable, "-m", "benchmarks.raw_workload", "--listen", str(path)]
    if owner != os.geteuid():
        command += ["--user", str(owner)]
    with ending(subprocess.Popen(command)):
        first_200(f"unix:{path}", PATH)
        yield


def _upload_s(address: str) -> float:
    with connect(address, 60) as connection:
        began = time.perf_counter()
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {BYTES}\r\n\r\n".encode())
        left = BYTES
        while left:
            left -= connection.send(_PIECE[:left])
        answer = connection.recv(65536)
        took = time.perf_counter() - began
        while not answer.endswith(str(BYTES).encode()):
            block = connection.recv(65536)
            if not block:
                raise ConnectionError(f"not all arrived: {answer[:300]!r}")
            answer += block
    return took


def _download_s(address: str) -> float:
    with connect(address, 60) as connection:
        buffer = bytearray(256 * 1024)
        began = time.perf_counter()
        connection.sendall(f"GET {PATH}?{BYTES} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        received = 0
        while received < BYTES:
            count = connection.recv_into(buffer)
            if not count:
                raise ConnectionError(f"only {received} bytes arrived")
            received += count
        return time.perf_counter() - began
