"""List, then watch: every change of a function after a version, in order, none left out and none twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.db import current_version
from mesh.errors import Unavailable
from registry_svc.context import Context
from registry_svc.domain import Function, Limits

BATCH = 200
PURGED = "purged"
"""Counter: the newest version of a tombstone that was removed."""


@dataclass(frozen=True)
class Snapshot:
    """A function with what its watchers want to know besides."""

    function: Function
    serving_limits: Limits | None
    workspace_display_name: str


@dataclass(frozen=True)
class Bookmark:
    """All up to this version has been sent."""

    version: int


@dataclass(frozen=True)
class Reset:
    """What was seen before is worth nothing; the whole state follows."""


async def snapshots(context: Context, conn: AsyncConnection, functions: list[Function]) -> list[Snapshot]:
    """Functions with their serving limits and workspace names."""
    keys = [(function.uid, function.serving) for function in functions if function.serving]
    limits = await context.functions.limits_of(conn, keys)
    names = await context.workspaces.display_names(conn, [function.workspace_uid for function in functions])
    return [
        Snapshot(
            function,
            limits.get((function.uid, function.serving)),
            names.get(function.workspace_uid, ""),
        )
        for function in functions
    ]


async def watch_functions(
    context: Context, after_version: int, *, poll_interval_s: float, max_age_s: float
) -> AsyncIterator[Snapshot | Bookmark | Reset]:
    """Functions changed after a version, a bookmark, then changes as they come, with a bookmark after each
    batch.

    Looks when woken, and every `poll_interval_s` for what other processes wrote. Raises Unavailable
    (STREAM_AGED) once it is `max_age_s` old.
    """
    ends = context.clock.monotonic() + max_age_s
    cursor, asked, bookmarked = after_version, after_version > 0, False
    while True:
        woken = context.changes.next()
        async with context.database.read() as conn:
            newest = await current_version(conn)
            quiet = bookmarked and newest == cursor  # as mostly: nothing has changed since, and nothing was purged
            lost = not quiet and asked and (cursor > newest or cursor < await current_version(conn, PURGED))
            batch: list[Snapshot] = []
            if not quiet and not lost:
                rows = await context.functions.changed_after(conn, cursor, with_gone=cursor > 0, limit=BATCH)
                batch = await snapshots(context, conn, rows)
        if lost:
            yield Reset()
            cursor, asked, bookmarked = 0, False, False
            continue
        for snapshot in batch:
            yield snapshot
            cursor = snapshot.function.version
        if len(batch) == BATCH:
            continue
        if batch or not bookmarked:
            cursor, asked, bookmarked = max(cursor, newest), True, True
            yield Bookmark(cursor)
        left_s = ends - context.clock.monotonic()
        if left_s <= 0:
            raise Unavailable("STREAM_AGED", "The stream is old enough; call again.", retry_after_s=0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(poll_interval_s, left_s)):
                await woken.wait()
