"""Execution records, written in batches off the hot path."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from invoke_svc.domain import Run
from invoke_svc.ports import ExecutionStore
from invoke_svc.spool import Spool
from mesh.clock import Clock, Steadiness
from mesh.logs import get_logger
from mesh.loops import wait_for_wake

log = get_logger(__name__)

BATCH_ROWS = 500
PENDING_LIMIT = 20_000
PRUNE_INTERVAL_S = 30.0
LOOK_INTERVAL_S = 2.0
"""How often it is looked for records that others left behind."""
STEADY_S = 3600.0
"""Nothing is deleted for its age so soon after the clock has jumped."""
_DAY_S = 86_400.0


class ExecutionRecorder:
    """Collects the records of runs and writes them every `flush_interval_s`, or when a batch is full.

    What is not written yet when the process is killed is in the spool, where there is one: the next process, or another
    one that has the same directory, writes it. Leaving `running()` writes it all. While the database is away
    PENDING_LIMIT records wait, and later ones are counted and dropped.
    """

    def __init__(
        self,
        store: ExecutionStore,
        clock: Clock,
        spool: Spool | None = None,
        *,
        flush_interval_s: float,
        kept: int,
        kept_days: float,
    ) -> None:
        self._store = store
        self._spool = spool
        self._looked_at = -math.inf
        self._clock = clock
        self._flush_interval_s = flush_interval_s
        self._kept = kept
        self._kept_s = kept_days * _DAY_S
        self._pending: deque[Run] = deque()
        self._full = asyncio.Event()
        self._touched: set[str] = set()
        self._pruned_at = clock.monotonic()
        self._steadiness = Steadiness(clock)
        self._in_doubt = False
        self.dropped = 0

    def add(self, run: Run) -> None:
        """Takes the record of a run that has ended. Never waits."""
        if len(self._pending) >= PENDING_LIMIT:
            self.dropped += 1
            return
        self._pending.append(run)
        if self._spool is not None:
            self._spool.add(run)
        if len(self._pending) >= BATCH_ROWS:
            self._full.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Writes records for as long as the context lasts, and on exit those that are left."""
        async with asyncio.TaskGroup() as tasks:
            loop = tasks.create_task(self._run())
            try:
                yield
            finally:
                loop.cancel()
                await asyncio.wait((loop,))
                await self._flush_last()

    async def _run(self) -> None:
        while True:
            await wait_for_wake(self._full, self._flush_interval_s)
            try:
                await self.flush()
                await self.take_over()
                await self.prune()
            except Exception as error:
                log.exception("executions_not_written", error, pending=len(self._pending))
                await asyncio.sleep(1)

    async def flush(self) -> None:
        """Writes all that is pending now; what the store refuses stays pending."""
        left = len(self._pending)
        if self._spool is not None:
            self._spool.seal()
        while left > 0:
            batch = [self._pending.popleft() for _ in range(min(BATCH_ROWS, left))]
            left -= len(batch)
            try:
                await self._store.append(batch, again=self._in_doubt)
            except BaseException:  # whether it was committed is not known
                self._pending.extendleft(reversed(batch))
                self._in_doubt = True
                raise
            self._in_doubt = False
            self._touched.update(run.function_uid for run in batch)
        if self._spool is not None:
            self._spool.drop()
        if self.dropped:
            log.warning("executions_dropped", count=self.dropped)
            self.dropped = 0

    async def _flush_last(self) -> None:
        try:
            async with asyncio.timeout(5):
                await self.flush()
        except Exception as error:
            log.exception("executions_lost", error, count=len(self._pending))
        if self._spool is not None:
            self._spool.close()

    async def take_over(self) -> None:
        """Writes, once in a while, what processes that were killed had not written."""
        if self._spool is None or self._clock.monotonic() - self._looked_at < LOOK_INTERVAL_S:
            return
        self._looked_at = self._clock.monotonic()
        for file in self._spool.left_behind():
            written = False
            try:
                runs = file.runs()
                for first in range(0, len(runs), BATCH_ROWS):
                    await self._store.append(runs[first : first + BATCH_ROWS], again=True)
                written = True
                log.info("executions_taken_over", count=len(runs))
            finally:
                file.close(written=written)

    async def prune(self) -> None:
        """Deletes, once in a while, what is more than is kept of the functions that ran since."""
        if self._clock.monotonic() - self._pruned_at < PRUNE_INTERVAL_S:
            return
        self._pruned_at = self._clock.monotonic()
        touched, self._touched = sorted(self._touched), set()
        steady = self._steadiness.lasted(STEADY_S)
        oldest = self._clock.now().timestamp() - self._kept_s if steady else 0.0
        count = await self._store.prune(touched, self._kept, oldest)
        if count:
            log.debug("executions_pruned", count=count)
