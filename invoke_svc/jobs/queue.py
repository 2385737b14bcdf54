"""The queue as workers see it: claiming, keeping, ending, and taking back what a dead worker held.

A claim is a lease by the database's clock. Everything a worker writes names the claim it was given (`claim`, which goes
up with every one): once the job was claimed again, or taken back, the old worker's writes match no row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from invoke_svc.jobs.domain import Decision, End, Job, JobState, Kind, Outcome, RetryPolicy, decide
from invoke_svc.jobs.rows import SHORT_COLUMNS, database_now, storable, to_job
from invoke_svc.jobs.tables import jobs
from mesh.db import Database

_RECOVER_ROWS = 200
_WORKSPACES_AT_ONCE = 200

_WAITING = sa.text("SELECT 1 FROM jobs WHERE state = 2 AND kind = :kind AND due <= :now LIMIT 1")
_BUSY = sa.text("SELECT workspace_uid, count(*) FROM jobs WHERE state = 3 GROUP BY workspace_uid")
_NEXT = (
    "SELECT uid, workspace_uid FROM jobs WHERE state = 2 AND kind = :kind AND due <= :now ORDER BY due, uid LIMIT :many"
)
_NEXT_OF_WORKSPACE = (
    "SELECT uid, workspace_uid FROM jobs WHERE state = 2 AND kind = :kind AND workspace_uid = :workspace"
    " AND due <= :now ORDER BY due, uid LIMIT :many"
)
# Workspaces that have jobs in the queue: one step in the index for each, however many jobs there are.
_QUEUEING = sa.text(
    "WITH RECURSIVE one(uid) AS ("
    " SELECT min(workspace_uid) FROM jobs WHERE state = 2 AND kind = :kind"
    " UNION ALL"
    " SELECT (SELECT min(workspace_uid) FROM jobs WHERE state = 2 AND kind = :kind AND workspace_uid > one.uid)"
    " FROM one WHERE one.uid IS NOT NULL"
    ") SELECT uid FROM one WHERE uid IS NOT NULL"
)
# `state + 0`: PostgreSQL would look for these few in an index of all that is queued, which it takes for short.
_TAKE = sa.text(
    "UPDATE jobs SET state = 3, owner = :owner, claim = claim + 1, attempt = attempt + 1, lease_until = :until,"
    " started = :now, updated = :now, version = version + 1, error = '', exit_code = NULL, status_code = 0"
    " WHERE uid IN :uids AND state + 0 = 2 RETURNING *"
).bindparams(sa.bindparam("uids", expanding=True))
_KEEP = sa.text("UPDATE jobs SET lease_until = :until WHERE state = 3 AND owner = :owner RETURNING uid, claim, cancel")
_CANCELLED = sa.text("SELECT uid, claim FROM jobs WHERE state = 3 AND owner = :owner AND cancel")
_SETTLE = sa.text(
    # One that shall be tried again, and that somebody has wanted cancelled meanwhile, is cancelled.
    "UPDATE jobs SET state = CASE WHEN cancel AND :again THEN 7 ELSE :state END,"
    " ended = CASE WHEN cancel OR NOT :again THEN CAST(:now AS double precision) ELSE 0 END,"
    " owner = '', attempt = attempt - :uncounted, postponed = :postponed, due = :due, lease_until = 0,"
    " exit_code = :exit_code, status_code = :status_code, error = :error, execution = :execution, result = :result,"
    " result_key = :result_key, updated = CAST(:now AS double precision), version = version + 1"
    " WHERE uid = :uid AND claim = :claim AND owner = :owner AND state = 3"
)


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of an attempt, as its worker decided it."""

    job: Job
    outcome: Outcome


class JobQueue:
    """The queue in the database. `workspace_limit` is how many jobs of a workspace run at once, everywhere."""

    def __init__(self, database: Database, policy: RetryPolicy, *, lease_s: float, workspace_limit: int) -> None:
        self._database = database
        self._policy = policy
        self._lease_s = lease_s
        self._limit = workspace_limit
        self._locking = "" if database.is_sqlite else " FOR UPDATE SKIP LOCKED"
        self._next = sa.text(_NEXT + self._locking)
        self._next_of_workspace = sa.text(_NEXT_OF_WORKSPACE + self._locking)

    async def exchange(self, owner: str, ended: Sequence[Settlement], wanted: Mapping[Kind, int]) -> list[Job]:
        """Writes how attempts ended, and claims at most so many jobs of each kind, the oldest first, for a lease.

        All in one transaction. What is written of a job that was claimed again, or taken back, is without effect.
        """
        if not ended and not await self._any_waiting(list(wanted)):
            return []  # without a write lock

        async def work(conn: AsyncConnection) -> list[Job]:
            now = await database_now(conn)
            if ended:
                decided = [decide(one.job, one.outcome.end, self._policy, now) for one in ended]
                rows = [_settled(one, what, now) for one, what in zip(ended, decided, strict=True)]
                await conn.execute(_SETTLE, rows)
            return await self._take(conn, owner, wanted, now)

        return await self._database.transaction(work, in_turn=False)

    async def claim(self, owner: str, wanted: Mapping[Kind, int]) -> list[Job]:
        """At most so many jobs of each kind, now `owner`'s for a lease."""
        return await self.exchange(owner, (), wanted)

    async def settle(self, ended: Sequence[Settlement]) -> None:
        """Writes how attempts ended."""
        await self.exchange("", ended, {})

    async def _take(self, conn: AsyncConnection, owner: str, wanted: Mapping[Kind, int], now: float) -> list[Job]:
        uids: list[str] = []
        for kind, many in wanted.items():
            if many:
                uids += await self._choose(conn, kind, many, now, uids)
        if not uids:
            return []
        values = {"owner": owner, "now": now, "until": now + self._lease_s, "uids": uids}
        taken = [to_job(row._mapping) for row in await conn.execute(_TAKE, values)]
        return sorted(taken, key=lambda job: (job.due, job.uid))

    async def _any_waiting(self, kinds: Sequence[Kind]) -> bool:
        async with self._database.read() as conn:
            now = await database_now(conn)
            for kind in kinds:
                if (await conn.execute(_WAITING, {"kind": kind, "now": now})).first() is not None:
                    return True
        return False

    async def _choose(self, conn: AsyncConnection, kind: Kind, many: int, now: float, chosen: list[str]) -> list[str]:
        """Jobs to take, none of a workspace that has its fill. Locks what it looks at, on PostgreSQL."""
        busy = await self._busy(conn)
        if chosen:  # of another kind, in this transaction
            query = sa.select(jobs.c.workspace_uid).where(jobs.c.uid.in_(chosen))
            for workspace in (await conn.execute(query)).scalars():
                busy[workspace] = busy.get(workspace, 0) + 1
        found: dict[str, str] = {}
        if all(count < self._limit for count in busy.values()):
            values = {"kind": kind, "now": now, "many": many}
            found = {row[0]: row[1] for row in await conn.execute(self._next, values)}
        picked = await self._within_limits(conn, found, busy)
        if len(picked) == many or (found and len(found) < many and len(picked) == len(found)):
            return picked
        # Some workspace has its fill and may have any number of jobs at the head of the queue: ask each by itself.
        for workspace in list((await conn.execute(_QUEUEING, {"kind": kind})).scalars())[:_WORKSPACES_AT_ONCE]:
            room = min(many - len(picked), self._limit - busy.get(workspace, 0))
            if room <= 0:
                continue
            values = {"kind": kind, "now": now, "workspace": workspace, "many": room + len(picked)}
            rows = await conn.execute(self._next_of_workspace, values)
            others = {row[0]: row[1] for row in rows if row[0] not in picked}
            picked += (await self._within_limits(conn, others, busy))[: many - len(picked)]
        return picked

    async def _within_limits(self, conn: AsyncConnection, found: Mapping[str, str], busy: dict[str, int]) -> list[str]:
        """Those of the found jobs that their workspaces have room for; `busy` counts them from now on."""
        if not found:
            return []
        if not self._database.is_sqlite:
            # Two workers must not both take the last place: they take turns, workspace by workspace.
            for workspace in sorted(set(found.values())):
                lock = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 7))")
                await conn.execute(lock, {"name": workspace})
            for workspace, count in (await self._busy(conn)).items():
                busy[workspace] = max(count, busy.get(workspace, 0))
        picked = []
        for uid, workspace in found.items():
            if busy.get(workspace, 0) < self._limit:
                busy[workspace] = busy.get(workspace, 0) + 1
                picked.append(uid)
        return picked

    async def _busy(self, conn: AsyncConnection) -> dict[str, int]:
        return {row[0]: int(row[1]) for row in await conn.execute(_BUSY)}

    async def keep(self, owner: str) -> dict[str, tuple[int, bool]]:
        """Renews the lease of all that the owner has: for each job its claim, and whether it is to be cancelled."""

        async def renew(conn: AsyncConnection) -> dict[str, tuple[int, bool]]:
            until = await database_now(conn) + self._lease_s
            rows = await conn.execute(_KEEP, {"owner": owner, "until": until})
            return {row[0]: (int(row[1]), bool(row[2])) for row in rows}

        return await self._database.transaction(renew, in_turn=False)

    async def cancelled(self, owner: str) -> dict[str, int]:
        """Jobs of the owner that somebody wants cancelled, with their claims."""
        async with self._database.read() as conn:
            return {row[0]: int(row[1]) for row in await conn.execute(_CANCELLED, {"owner": owner})}

    async def recover(self) -> int:
        """Takes back jobs whose leases have run out, as many as fit; returns how many."""

        async def take_back(conn: AsyncConnection) -> int:
            now = await database_now(conn)
            query = sa.select(*SHORT_COLUMNS).where(sa.text("state = 3"), jobs.c.lease_until < now).limit(_RECOVER_ROWS)
            if not self._database.is_sqlite:
                query = query.with_for_update(skip_locked=True)
            lost = [to_job(row._mapping) for row in await conn.execute(query)]
            if not lost:
                return 0
            outcome = Outcome(End.LOST, "WORKER_LOST: The process that ran it ended or did not answer any more.")
            ended = [Settlement(job, outcome) for job in lost]
            rows = [_settled(one, decide(one.job, End.LOST, self._policy, now), now) for one in ended]
            await conn.execute(_SETTLE, rows)
            return len(rows)

        async with self._database.read() as conn:
            now = await database_now(conn)
            query = sa.select(jobs.c.uid).where(sa.text("state = 3"), jobs.c.lease_until < now).limit(1)
            if (await conn.execute(query)).first() is None:
                return 0
        return await self._database.transaction(take_back, in_turn=False)


def _settled(one: Settlement, what: Decision, now: float) -> dict[str, object]:
    job, outcome = one.job, one.outcome
    again = what.state is JobState.QUEUED
    return {
        "uid": job.uid,
        "claim": job.claim,
        "owner": job.owner,
        "now": now,
        "state": what.state,
        "uncounted": 0 if what.counts else 1,
        "postponed": 0 if what.counts else job.postponed + 1,
        "due": now + what.delay_s if again else job.due,
        "again": again,
        "exit_code": outcome.exit_code,
        "status_code": outcome.status_code,
        "error": storable(outcome.error),
        "execution": outcome.execution,
        "result": outcome.result,
        "result_key": outcome.result_key,
    }
