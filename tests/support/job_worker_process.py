"""A worker of jobs as a process that can be killed: `python -m tests.support.job_worker_process URL OWN_LOG`.

Its jobs do nothing but write down that they were begun, and that they ended, each a line in a file.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from invoke_svc.jobs.domain import End, Job, Kind, Outcome, RetryPolicy
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.queue import JobQueue
from invoke_svc.jobs.worker import JobWorker, Timing
from mesh.db import Database

LEASE_S = 1.0


class Noted:
    """A runner whose work is a line in a file before and after a moment."""

    def __init__(self, log: Path) -> None:
        self._fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def run(self, job: Job) -> Outcome:
        os.write(self._fd, f"began {job.uid} {job.claim}\n".encode())
        await asyncio.sleep(0.005)
        os.write(self._fd, f"ended {job.uid} {job.claim}\n".encode())
        return Outcome(End.DONE, result=str(job.claim).encode())


async def main(url: str, log: str) -> None:
    """Works until it is killed."""
    database = Database(url, schema="invoke")
    policy = RetryPolicy(first_s=0.01, limit_s=0.01)
    queue = JobQueue(database, policy, lease_s=LEASE_S, workspace_limit=1000)
    slots = {Kind.FUNCTION: 8}
    worker = JobWorker(queue, {Kind.FUNCTION: Noted(Path(log))}, slots, JobHints(), Timing(LEASE_S, 0.05, 0.1))
    async with worker.running(0):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
