"""Ends what deleted workspaces have left: their jobs are cancelled, their schedules deleted."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as pb_grpc
from invoke_svc.jobs.domain import JobState
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.rows import database_now
from invoke_svc.jobs.tables import jobs, schedule_ticks, schedules
from mesh import names
from mesh.db import Database
from mesh.errors import MeshError, NotFound
from mesh.logs import get_logger

log = get_logger(__name__)
_ASKED_AT_ONCE = 50
_ENDED_AT_ONCE = 2000
_ERROR = "WORKSPACE_DELETED: The workspace of the job was deleted."
# One step in the index for each workspace, however many jobs it has.
_WORKSPACES = sa.text(
    "WITH RECURSIVE one(uid) AS ("
    " SELECT min(workspace_uid) FROM jobs WHERE workspace_uid > :after"
    " UNION ALL"
    " SELECT (SELECT min(workspace_uid) FROM jobs WHERE workspace_uid > one.uid) FROM one WHERE one.uid IS NOT NULL"
    ") SELECT uid FROM one WHERE uid IS NOT NULL"
    " UNION SELECT workspace_uid FROM schedules WHERE workspace_uid > :after ORDER BY 1 LIMIT :many"
)


class JobOrphans:
    """`step` for a loop. Asks the registry of some workspaces that have jobs or schedules, then of the next ones."""

    def __init__(self, database: Database, registry: pb_grpc.RegistryInternalServiceAsyncStub, hints: JobHints) -> None:
        self._database = database
        self._registry = registry
        self._hints = hints
        self._after = ""

    async def step(self) -> bool:
        """Looks at the next workspaces; always False, for all that is left can wait for the next step."""
        async with self._database.read() as conn:
            rows = await conn.execute(_WORKSPACES, {"after": self._after, "many": _ASKED_AT_ONCE})
            found = [str(row[0]) for row in rows]
        self._after = found[-1] if len(found) == _ASKED_AT_ONCE else ""
        for uid in found:
            if await self._is_gone(uid):
                await self._end(uid)
        return False

    async def _is_gone(self, uid: str) -> bool:
        try:
            name = names.format_name(names.WORKSPACE, uid)
            await self._registry.ResolveWorkspace(pb.ResolveWorkspaceRequest(name=name))
        except NotFound:
            return True
        except MeshError:
            return False  # nobody knows
        return False

    async def _end(self, uid: str) -> None:
        async with self._database.read() as conn:
            live = sa.select(jobs.c.uid).where(jobs.c.workspace_uid == uid, _LIVE).limit(1)
            planned = sa.select(schedules.c.uid).where(schedules.c.workspace_uid == uid).limit(1)
            if (await conn.execute(live)).first() is None and (await conn.execute(planned)).first() is None:
                return
        count = 0
        while ended := await self._database.transaction(lambda conn: _cancel(conn, uid), in_turn=False):
            count += ended
        self._hints.cancels.set()
        await self._database.transaction(lambda conn: _unplan(conn, uid), in_turn=False)
        log.info("workspace_jobs_cancelled", workspace=uid, count=count)


_LIVE = jobs.c.state.in_([int(JobState.PENDING), int(JobState.QUEUED), int(JobState.RUNNING)]) & ~jobs.c.cancel


async def _cancel(conn: AsyncConnection, workspace_uid: str) -> int:
    """Cancels some of its jobs; how many."""
    now = await database_now(conn)
    some = sa.select(jobs.c.uid).where(jobs.c.workspace_uid == workspace_uid, _LIVE).limit(_ENDED_AT_ONCE)
    waits = jobs.c.state != int(JobState.RUNNING)
    change = (
        jobs.update()
        .where(jobs.c.uid.in_(some), _LIVE)
        .values(
            state=sa.case((waits, int(JobState.CANCELLED)), else_=jobs.c.state),
            ended=sa.case((waits, now), else_=jobs.c.ended),
            error=_ERROR,
            cancel=True,
            updated=now,
            version=jobs.c.version + 1,
        )
    )
    return int((await conn.execute(change)).rowcount)


async def _unplan(conn: AsyncConnection, workspace_uid: str) -> None:
    mine = sa.select(schedules.c.uid).where(schedules.c.workspace_uid == workspace_uid)
    await conn.execute(schedule_ticks.delete().where(schedule_ticks.c.schedule_uid.in_(mine)))
    await conn.execute(schedules.delete().where(schedules.c.workspace_uid == workspace_uid))
