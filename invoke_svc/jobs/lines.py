"""The log of a script: lines in the database while it runs, one blob once it has ended."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from invoke_svc.jobs.domain import Job
from invoke_svc.jobs.rows import database_now
from invoke_svc.jobs.tables import job_lines, jobs
from mesh.blobs import BlobStore
from mesh.db import Database
from mesh.errors import NotFound

_ROWS = 64
_CHUNK_BYTES = 512 * 1024
_OURS = sa.text("SELECT 1 FROM jobs WHERE uid = :uid AND claim = :claim AND owner = :owner AND state = 3")

_ADD = sa.text("INSERT INTO job_lines (uid, sequence, lines) VALUES (:uid, :sequence, :lines) ON CONFLICT DO NOTHING")


@dataclass(frozen=True, slots=True)
class Line:
    """A line. `sequence` counts from 1; `stream` is the number of the API; `written` 0 where it is not known."""

    sequence: int
    stream: int
    text: str
    written: float = 0.0


class JobLines:
    """Lines of jobs, wherever they are."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def last(self, uid: str) -> int:
        """Number of the last line; 0 before the first."""
        query = sa.select(sa.func.max(job_lines.c.sequence)).where(job_lines.c.uid == uid)
        async with self._database.read() as conn:
            return int((await conn.execute(query)).scalar_one() or 0)

    async def append(self, job: Job, lines: Sequence[Line]) -> bool:
        """Stores lines that follow the last one, for whoever holds the job now; False where that is another."""
        packed = json.dumps([[one.stream, one.text, one.written] for one in lines]).encode()

        async def add(conn: AsyncConnection) -> bool:
            values = {"uid": job.uid, "claim": job.claim, "owner": job.owner}
            if (await conn.execute(_OURS, values)).first() is None:
                return False
            row = {"uid": job.uid, "sequence": lines[-1].sequence, "lines": packed}
            await conn.execute(_ADD, row)
            return True

        return await self._database.transaction(add, in_turn=False)

    async def after(self, job: Job, sequence: int, *, ended: bool) -> AsyncIterator[Line]:
        """The lines after a number that there are now; of a job that has ended from the blob, if need be."""
        found = False
        while True:
            query = sa.select(job_lines.c.sequence, job_lines.c.lines).where(
                job_lines.c.uid == job.uid, job_lines.c.sequence > sequence
            )
            async with self._database.read() as conn:
                rows = (await conn.execute(query.order_by(job_lines.c.sequence).limit(_ROWS))).all()
            for last, packed in rows:
                items = json.loads(packed)
                for number, (stream, text, written) in enumerate(items, start=int(last) - len(items) + 1):
                    if number > sequence:
                        yield Line(number, stream, text, written)
                sequence, found = int(last), True
            if len(rows) < _ROWS:
                break
        if ended and not found and job.log_key and not await self.last(job.uid):
            async for line in self._stored(job.log_key):
                if line.sequence > sequence:
                    yield line

    async def text(self, job: Job) -> AsyncIterator[bytes]:
        """The whole log as it is now, in pieces. Raises NotFound (LOG_NOT_FOUND) where the job has none."""
        if not job.log_key:
            raise NotFound("LOG_NOT_FOUND", "A job that invokes a function has no log of its own; see the function's.")
        if not await self.last(job.uid):
            try:
                async for chunk in self._blobs.open_stream(job.log_key):
                    yield chunk
            except NotFound:
                pass  # it has printed nothing yet
            return
        buffer = bytearray()
        async for line in self.after(job, 0, ended=False):
            buffer += line.text.encode() + b"\n"
            if len(buffer) >= _CHUNK_BYTES:
                yield bytes(buffer)
                buffer.clear()
        if buffer:
            yield bytes(buffer)

    async def archive(self, job: Job) -> None:
        """Puts the log of a job into the blob store, as it is now."""
        pieces = [piece async for piece in self.text(job)]
        await self._blobs.put(job.log_key, b"".join(pieces))

    async def forget(self, uid: str) -> None:
        """Deletes the lines of a job that has ended from the database."""

        async def drop(conn: AsyncConnection) -> None:
            over = sa.select(jobs.c.uid).where(jobs.c.uid == uid, jobs.c.state >= 4)
            await conn.execute(job_lines.delete().where(job_lines.c.uid == uid, job_lines.c.uid.in_(over)))

        await self._database.transaction(drop, in_turn=False)

    async def ended_before(self, age_s: float, limit: int) -> list[str]:
        """Jobs that ended so long ago and have lines in the database."""
        async with self._database.read() as conn:
            before = await database_now(conn) - age_s
            query = (
                sa.select(job_lines.c.uid)
                .distinct()
                .join(jobs, jobs.c.uid == job_lines.c.uid)
                .where(jobs.c.state >= 4, jobs.c.ended < before)
                .limit(limit)
            )
            return list((await conn.execute(query)).scalars())

    async def _stored(self, key: str) -> AsyncIterator[Line]:
        sequence, rest = 0, b""
        try:
            async for chunk in self._blobs.open_stream(key):
                *whole, rest = (rest + chunk).split(b"\n")
                for text in whole:
                    sequence += 1
                    yield Line(sequence, 0, text.decode(errors="replace"))
        except NotFound:
            return
