"""Counters of functions that only grow, in the buckets of a histogram: for what reads them again and again."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from invoke_svc.domain import Run
from invoke_svc.stats.tally import Count
from invoke_svc.tables import run_counts, run_totals

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Longest time of each bucket; there is one more, of what took longer."""
_FUNCTIONS_AT_ONCE = 500

# Sorted by key, so that two processes that write at the same time lock the rows in the same order.
_ADD = sa.text(
    "INSERT INTO run_totals (function_uid, bucket, runs, failures, duration_s) "
    "VALUES (:function_uid, :bucket, :runs, :failures, :duration_s) "
    "ON CONFLICT (function_uid, bucket) DO UPDATE SET runs = run_totals.runs + excluded.runs, "
    "failures = run_totals.failures + excluded.failures, duration_s = run_totals.duration_s + excluded.duration_s"
)


@dataclass(frozen=True, slots=True)
class Totals:
    """All that was ever counted of a function; `within` has a number for each of BOUNDS_S."""

    invocations: int
    failures: int
    duration_s: float
    within: Sequence[int]


def counted(runs: Iterable[Run]) -> dict[tuple[str, int], Count]:
    """Runs by function and bucket."""
    counts: dict[tuple[str, int], Count] = {}
    for run in runs:
        count = counts.setdefault((run.function_uid, bisect.bisect_left(BOUNDS_S, run.duration_s)), Count())
        count.runs += 1
        count.failures += run.failed
        count.duration_s += run.duration_s
    return counts


def totals(counts: Mapping[int, Count]) -> Totals:
    """What counts by bucket say."""
    within, passed = [], 0
    for bucket in range(len(BOUNDS_S)):
        passed += counts[bucket].runs if bucket in counts else 0
        within.append(passed)
    every = counts.values()
    return Totals(
        invocations=sum(one.runs for one in every),
        failures=sum(one.failures for one in every),
        duration_s=sum(one.duration_s for one in every),
        within=within,
    )


async def add_totals(conn: AsyncConnection, runs: Iterable[Run]) -> None:
    """Counts runs, in the caller's transaction."""
    rows = [
        {"function_uid": uid, "bucket": bucket, "runs": count.runs, "failures": count.failures,
         "duration_s": count.duration_s}
        for (uid, bucket), count in sorted(counted(runs).items(), key=lambda item: item[0])
    ]  # fmt: skip
    if rows:
        await conn.execute(_ADD, rows)


async def read_totals(conn: AsyncConnection, function_uids: Sequence[str]) -> dict[str, Totals]:
    """The counters of each of these functions that ran."""
    counts: dict[str, dict[int, Count]] = {}
    for at in range(0, len(function_uids), _FUNCTIONS_AT_ONCE):
        some = function_uids[at : at + _FUNCTIONS_AT_ONCE]
        for row in await conn.execute(sa.select(run_totals).where(run_totals.c.function_uid.in_(some))):
            counts.setdefault(row.function_uid, {})[row.bucket] = Count(row.runs, row.failures, row.duration_s)
    return {uid: totals(mine) for uid, mine in counts.items()}


async def drop_idle_totals(conn: AsyncConnection) -> None:
    """Forgets functions of which no run is counted any more."""
    ran = sa.select(run_counts.c.function_uid)
    await conn.execute(sa.delete(run_totals).where(run_totals.c.function_uid.not_in(ran)))
