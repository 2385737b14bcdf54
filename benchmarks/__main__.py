"""`python -m benchmarks [FIGURE ...] [--rounds N] [--seconds S] [--write]`: measures the figures named (all, where
none is), prints a table, and with `--write` puts it into docs/performance.md between its markers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from benchmarks import (
    bodies,
    cluster,
    control,
    deploys,
    instances,
    jobs,
    lane,
    many,
    memory,
    runtime_server,
    scale,
    spin,
    startup,
)
from benchmarks.report import Row, lines_of, page_of, write
from benchmarks.turns import Plan

FIGURES: Mapping[str, Callable[[Plan], list[Row]]] = {
    "lane": lane.measure,
    "runtime": runtime_server.measure,
    "bodies": bodies.measure,
    "memory": memory.measure,
    "up": startup.measure,
    "deploy": deploys.measure,
    "functions": many.measure,
    "start": instances.measure,
    "jobs": jobs.measure,
    "control": control.measure,
    "spin": spin.measure,
    "scale": scale.measure,
    "cluster": cluster.measure,
}


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Paired measurements of the mesh.")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"which ({', '.join(FIGURES)}); all if none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load, for each subject in each round")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    arguments = parser.parse_args()
    unknown = set(arguments.figures) - set(FIGURES)
    if unknown:
        parser.error(f"there is no figure {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    plan = Plan(arguments.rounds, arguments.seconds)
    measured: dict[str, list[str]] = {}
    for name, measure in FIGURES.items():
        if name in (arguments.figures or FIGURES):
            print(f"Measuring {name} ...", file=sys.stderr, flush=True)
            measured[name] = lines_of(name, measure(plan), plan.rounds)
    print(page_of([line for lines in measured.values() for line in lines]))
    if arguments.write:
        write(measured, list(FIGURES))


if __name__ == "__main__":
    main()
