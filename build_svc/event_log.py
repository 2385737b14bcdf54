"""The numbered events of builds as rows, written in the transaction of the change that they tell of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from build_svc import rows
from build_svc.domain import Build, Event, Happening, StateChange
from build_svc.tables import builds, events


async def append(conn: AsyncConnection, build: Build, what: Sequence[Happening], now: datetime) -> Build:
    """Numbers the events on from the build's last one; the build as it is then."""
    first = build.last_sequence + 1
    build = replace(build, last_sequence=build.last_sequence + len(what))
    written = []
    for sequence, happening in enumerate(what, first):
        if isinstance(happening, StateChange):
            happening = StateChange(replace(happening.build, last_sequence=sequence))
        kind, content = rows.of_happening(happening)
        written.append(
            {
                "build_uid": build.uid,
                "sequence": sequence,
                "time": now,
                "kind": kind,
                "content": json.dumps(content, ensure_ascii=False),
            }
        )
    if written:
        await conn.execute(sa.insert(events), written)
        counted = sa.update(builds).where(builds.c.uid == build.uid)
        await conn.execute(counted.values(last_sequence=build.last_sequence))
    return build


async def after(conn: AsyncConnection, uid: str, sequence: int, limit: int) -> Sequence[Event]:
    """Those of a build with higher numbers, in order."""
    later = sa.select(events).where(events.c.build_uid == uid, events.c.sequence > sequence)
    return [rows.event_of(row) for row in await conn.execute(later.order_by(events.c.sequence).limit(limit))]


async def remove(conn: AsyncConnection, uid: str) -> None:
    """Forgets all of a build."""
    await conn.execute(sa.delete(events).where(events.c.build_uid == uid))
