"""Memory of processes, as the kernel counts it, and what the idle mesh takes."""

from __future__ import annotations

import re
import time
from pathlib import Path

from benchmarks.mesh_process import running_mesh
from benchmarks.report import Row, at_most
from benchmarks.turns import Plan, median, spread

_SETTLE_S = 5.0
_MIB = 1024 * 1024


def proportional_bytes(pid: int) -> int:
    """PSS: what is the process's own, and its share of what it shares."""
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def resident_bytes(pid: int) -> int:
    """RSS now."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS")


def forget_peak(pid: int) -> None:
    """From now on `peak_bytes` is that of the time after this call."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The greatest RSS there was."""
    return _field(Path(f"/proc/{pid}/status"), "VmHWM")


def _field(file: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{file} has no {name}")
    return int(found[1]) * 1024


def measure(plan: Plan) -> list[Row]:
    """PSS of every process of a fresh mesh that does nothing, functions apart: a mesh for each round."""
    rounds: list[dict[str, float]] = []
    for _ in range(plan.rounds):
        with running_mesh() as mesh:
            time.sleep(_SETTLE_S)
            rounds.append({name: proportional_bytes(pid) / _MIB for name, pid in mesh.processes().items()})
    whole = [sum(one.values()) for one in rounds]
    rows = [Row(f"idle, {name}", f"{median([one[name] for one in rounds]):.0f} MiB") for name in rounds[0]]
    rows.append(
        at_most("idle memory of the whole mesh (PSS)", median(whole), 600, f"{spread(whole, '{:.0f}')} MiB", "MiB")
    )
    return rows
