"""`python -m benchmarks [--rounds N] [--seconds S] [--write]`: measures, prints a table, and with `--write` puts
it into docs/performance.md between its markers."""

from __future__ import annotations

import argparse
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.deploy_time import DeployFigures, deploy_figures
from benchmarks.lane import LaneFigures, lane_figures
from benchmarks.mesh_process import running_mesh

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def table(lane: LaneFigures, deploys: list[DeployFigures], rounds: int, seconds: float) -> str:
    """The figures as the Markdown that docs/performance.md shows."""
    rows = [
        ("workload alone, 32 connections", f"{lane.workload_rps:,.0f} rps"),
        ("bare Envoy → the same workload", f"{lane.envoy_rps:,.0f} rps"),
        ("RPC lane (Envoy → invoke_svc → the same workload)", f"{lane.lane_rps:,.0f} rps"),
        ("lane ÷ bare Envoy (median of the rounds' ratios)", f"{lane.ratio:.3f}"),
        ("lane, p50 at 32 connections", f"{lane.lane_p50_ms:.1f} ms"),
        ("p50 that the mesh adds at 1 connection", f"{lane.added_p50_ms:.2f} ms"),
        ("answers other than 200", str(lane.errors)),
    ]
    for figures in deploys:
        rows.append((f"`fnmesh deploy` to the first 200, {figures.target}", f"{figures.first_s:.2f} s"))
        rows.append((f"the same with a changed source, {figures.target}", f"{figures.redeploy_s:.2f} s"))
    cores = os.cpu_count()
    made = f"{datetime.now(UTC):%Y-%m-%d}, {cores} cores, {platform.system()} {platform.machine()}"
    lines = [f"Made {made}, Python {platform.python_version()}; {rounds} rounds of {seconds:g} s each.", ""]
    lines += ["| what | measured |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]
    return "\n".join(lines)


def main() -> None:
    """Runs all measurements."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Paired measurements of the mesh.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    arguments = parser.parse_args()
    with running_mesh() as mesh:
        lane = lane_figures(mesh, rounds=arguments.rounds, seconds=arguments.seconds)
        usable = {found["what"] for found in mesh.fnmesh("doctor")["findings"] if found["state"] == "ok"}
        kinds = [kind for kind in ("process", "docker") if f"target: {kind}" in usable]
        deploys = [deploy_figures(mesh, kind, rounds=arguments.rounds) for kind in kinds]
    page = table(lane, deploys, arguments.rounds, arguments.seconds)
    print(page)
    if arguments.write:
        text = PAGE.read_text()
        PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{page}\n{END}", text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
