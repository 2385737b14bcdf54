"""Keeps the tables small: logs go to the blob store, jobs that ended long ago go away."""

from __future__ import annotations

from invoke_svc.jobs.creation import code_blob
from invoke_svc.jobs.domain import Kind
from invoke_svc.jobs.lines import JobLines
from invoke_svc.jobs.store import JobStore
from mesh.blobs import BlobStore
from mesh.logs import get_logger

log = get_logger(__name__)
_AT_ONCE = 200
_DAY_S = 86_400.0


class JobHousekeeping:
    """`step` for a loop. Lines of a job stay in its table for `lines_kept_s` after its end, jobs for `kept_days`."""

    def __init__(
        self, store: JobStore, lines: JobLines, blobs: BlobStore, *, lines_kept_s: float, kept_days: float
    ) -> None:
        self._store = store
        self._lines = lines
        self._blobs = blobs
        self._lines_kept_s = lines_kept_s
        self._kept_s = kept_days * _DAY_S

    async def step(self) -> bool:
        """Clears some away; whether there may be more."""
        return await self._archive() | await self._expire()

    async def _archive(self) -> bool:
        uids = await self._lines.ended_before(self._lines_kept_s, _AT_ONCE)
        for uid in uids:
            job = await self._store.get(uid)
            if job is not None and job.state.ended:
                await self._lines.archive(job)  # again, in case its worker could not
                await self._lines.forget(uid)
        return len(uids) == _AT_ONCE

    async def _expire(self) -> bool:
        old = await self._store.expired(self._kept_s, _AT_ONCE)
        for job in old:
            keys = [job.log_key, job.result_key, code_blob(job) if job.kind is Kind.SCRIPT else ""]
            for key in keys:
                if key:
                    await self._blobs.delete(key)
        if old:
            await self._store.delete([job.uid for job in old])
            log.info("jobs_expired", count=len(old))
        return len(old) == _AT_ONCE
