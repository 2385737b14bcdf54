"""Counts of runs in the database, written with the records they count."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from invoke_svc.domain import Run
from invoke_svc.stats.tally import STEP_S, Count, Summary, summary, tally
from invoke_svc.stats.totals import Totals, add_totals, drop_idle_totals, read_totals
from invoke_svc.tables import run_counts
from mesh.clock import Clock
from mesh.db import Database

KEPT_S = 8 * 86_400
_FUNCTIONS_AT_ONCE = 500

# Sorted by key, so that two processes that write at the same time lock the rows in the same order.
_ADD = sa.text(
    "INSERT INTO run_counts (function_uid, step, bucket, runs, failures, duration_s) "
    "VALUES (:function_uid, :step, :bucket, :runs, :failures, :duration_s) "
    "ON CONFLICT (function_uid, step, bucket) DO UPDATE SET runs = run_counts.runs + excluded.runs, "
    "failures = run_counts.failures + excluded.failures, duration_s = run_counts.duration_s + excluded.duration_s"
)


async def add_counts(conn: AsyncConnection, runs: Sequence[Run]) -> None:
    """Counts runs, in the caller's transaction."""
    counts = tally(runs)
    rows = [
        {"function_uid": uid, "step": step, "bucket": bucket, "runs": count.runs, "failures": count.failures,
         "duration_s": count.duration_s}
        for (uid, step, bucket), count in sorted(counts.items(), key=lambda item: item[0])
    ]  # fmt: skip
    if rows:
        await conn.execute(_ADD, rows)
    await add_totals(conn, runs)


class StatsStore:
    """Reads the counts, and drops the old ones."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def summaries(self, function_uids: Sequence[str], period_s: float) -> dict[str, Summary]:
        """How each of these functions ran in the last `period_s` seconds; without those that did not."""
        since = self._clock.now().timestamp() - period_s
        counts: dict[str, dict[int, Count]] = {}
        async with self._database.read() as conn:
            for at in range(0, len(function_uids), _FUNCTIONS_AT_ONCE):
                for row in await conn.execute(_since(function_uids[at : at + _FUNCTIONS_AT_ONCE], since)):
                    mine = counts.setdefault(row.function_uid, {})
                    mine[row.bucket] = Count(int(row.runs), int(row.failures), row.duration_s)
        return {uid: summary(mine) for uid, mine in counts.items()}

    async def totals(self, function_uids: Sequence[str]) -> dict[str, Totals]:
        """The counters of each of these functions that ran lately."""
        async with self._database.read() as conn:
            return await read_totals(conn, function_uids)

    async def prune(self) -> None:
        """Drops what is older than is ever asked for."""
        now = self._clock.now().timestamp()

        async def drop(conn: AsyncConnection) -> None:
            await conn.execute(sa.delete(run_counts).where(run_counts.c.step < int((now - KEPT_S) // STEP_S)))
            await drop_idle_totals(conn)

        await self._database.transaction(drop)


def _since(function_uids: Sequence[str], since: float) -> sa.Select[tuple[str, int, int, int, float]]:
    c = run_counts.c
    return (
        sa.select(
            c.function_uid,
            c.bucket,
            sa.func.sum(c.runs).label("runs"),
            sa.func.sum(c.failures).label("failures"),
            sa.func.sum(c.duration_s).label("duration_s"),
        )
        .where(c.function_uid.in_(function_uids), c.step >= int(since // STEP_S))
        .group_by(c.function_uid, c.bucket)
    )
