"""Forgets what has been kept long enough: tombstones of functions, answers to repeated calls."""

from __future__ import annotations

from datetime import timedelta

from mesh.db import raise_counter
from registry_svc.context import Context
from registry_svc.repeats import Repeats
from registry_svc.watch import PURGED

INTERVAL_S = 300.0


async def sweep(context: Context, repeats: Repeats, tombstone_s: float) -> None:
    """One run. Watchers that ask for what was forgotten get a Reset."""
    async with context.database.write() as conn:
        newest = await context.functions.purge(conn, context.clock.now() - timedelta(seconds=tombstone_s))
        if newest:
            await raise_counter(conn, PURGED, newest)
        await repeats.purge(conn)
