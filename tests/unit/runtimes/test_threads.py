"""The worker threads: every job runs, and none waits for another."""

from __future__ import annotations

import asyncio
import threading

from runtimes.python.fnmesh_worker.threads import Mailbox, WorkerThreads

DEADLINE_S = 20


async def test_a_job_that_blocks_does_not_hold_up_the_next() -> None:
    # given as many threads as jobs, each of which waits for all the others
    together = threading.Barrier(8)
    loop = asyncio.get_running_loop()
    mailbox, threads = Mailbox(loop), WorkerThreads(8)
    for _ in range(200):
        done: asyncio.Future[None] = loop.create_future()
        left = 8

        def finished(done: asyncio.Future[None] = done) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        def job() -> None:
            together.wait(DEADLINE_S)
            mailbox.post(finished)

        # when
        for _ in range(8):
            threads.submit(job)
        # then
        await asyncio.wait_for(done, DEADLINE_S)


async def test_letters_arrive_in_the_order_they_were_posted() -> None:
    # given
    loop = asyncio.get_running_loop()
    mailbox, threads = Mailbox(loop), WorkerThreads(1)
    seen: list[int] = []
    done: asyncio.Future[None] = loop.create_future()

    def job() -> None:
        for number in range(10_000):
            mailbox.post(seen.append, number)
        mailbox.post(done.set_result, None)

    # when
    threads.submit(job)
    await asyncio.wait_for(done, DEADLINE_S)
    # then
    assert seen == list(range(10_000))
