"""Lines of a build are written once each, whoever is cancelled meanwhile: on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from build_svc.domain import LINE_BYTES_MAX, Build, LogLine, Progress
from build_svc.hints import Hints
from build_svc.journal import LINE_BYTES_ALL_MAX, LINES_MAX, BuildJournal
from build_svc.leases import LeaseLost
from build_svc.store import BuildStore
from tests.contract.build_svc.build_rows import Rows

_TURNS = 40  # of the loop: from before the flush begins to after its end


class Gated(BuildStore):
    """Writes when the gate is opened."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows.database, rows.clock)
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def record(self, uid: str, owner: str, happenings: Sequence[Progress | LogLine]) -> Build:
        self.asked.set()
        await self.gate.wait()
        return await super().record(uid, owner, happenings)


async def claimed(rows: Rows, store: BuildStore) -> tuple[str, BuildJournal]:
    """A build that `owner` has claimed, and its journal."""
    build = await rows.accepted()
    await rows.claim("owner")
    return build.uid, BuildJournal(store, Hints(), build.uid, "owner")


async def written(rows: Rows, uid: str) -> list[str]:
    events = await rows.store.events_after(uid, 0, 1000)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return [event.what.text for event in events if isinstance(event.what, LogLine)]


async def test_a_flush_that_is_cancelled_while_it_writes_loses_nothing_and_repeats_nothing(rows: Rows) -> None:
    store = Gated(rows)
    uid, journal = await claimed(rows, store)
    await journal.line("first")
    flushing = asyncio.ensure_future(journal.flush())
    await store.asked.wait()

    await journal.line("second")  # told while the first is on its way
    flushing.cancel()
    next_one = asyncio.ensure_future(journal.flush())
    store.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    await next_one

    assert await written(rows, uid) == ["first", "second"]
    await journal.flush()
    assert await written(rows, uid) == ["first", "second"]


async def test_a_flush_that_is_cancelled_while_another_one_writes_leaves_its_lines(rows: Rows) -> None:
    store = Gated(rows)
    uid, journal = await claimed(rows, store)
    await journal.line("first")
    flushing = asyncio.ensure_future(journal.flush())
    await store.asked.wait()
    await journal.line("second")
    waiting = asyncio.ensure_future(journal.flush())
    await asyncio.sleep(0)  # it is in the queue now

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    store.gate.set()
    await flushing

    assert await written(rows, uid) == ["first"]
    await journal.flush()
    assert await written(rows, uid) == ["first", "second"]


async def test_lines_are_written_once_each_wherever_their_writer_is_cancelled(rows: Rows) -> None:
    uid, journal = await claimed(rows, rows.store)
    for turns in range(_TURNS):
        await journal.line(f"line {turns}")
        flushing = asyncio.ensure_future(journal.flush())
        for _ in range(turns):
            await asyncio.sleep(0)
        flushing.cancel()
        await asyncio.wait([flushing])

    await journal.flush()

    assert await written(rows, uid) == [f"line {turns}" for turns in range(_TURNS)]


async def test_a_cancelled_flush_of_a_lost_claim_is_cancelled(rows: Rows) -> None:
    """The loss is told to whoever flushes next: it is not swallowed with the cancellation."""
    store = Gated(rows)
    uid, journal = await claimed(rows, store)
    await journal.line("first")
    flushing = asyncio.ensure_future(journal.flush())
    await store.asked.wait()
    await rows.store.postpone(uid, "owner", delay_s=0, counts=False)

    flushing.cancel()
    store.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await flushing

    await journal.line("second")
    with pytest.raises(LeaseLost):
        await journal.flush()
    assert await written(rows, uid) == []


async def test_the_lines_of_a_build_have_a_limit_of_bytes(rows: Rows) -> None:
    uid, journal = await claimed(rows, rows.store)

    for _ in range(LINE_BYTES_ALL_MAX // LINE_BYTES_MAX + 10):
        await journal.line("x" * LINE_BYTES_MAX)
    await journal.flush()

    lines = await written(rows, uid)
    assert len(lines) == LINE_BYTES_ALL_MAX // LINE_BYTES_MAX
    assert lines[-1] == "(more than 4 MiB of lines; the rest is left out)"
    assert set(lines[:-1]) == {"x" * LINE_BYTES_MAX}


async def test_the_lines_of_a_build_have_a_limit_of_number(rows: Rows) -> None:
    uid, journal = await claimed(rows, rows.store)

    for number in range(LINES_MAX + 10):
        await journal.line(str(number))
    await journal.flush()

    events = await rows.store.events_after(uid, LINES_MAX - 5, 1000)
    assert isinstance(events[-1].what, LogLine)
    assert events[-1].what.text == f"(more than {LINES_MAX} lines; the rest is left out)"
    assert events[-1].sequence == LINES_MAX + 2  # after it was made and begun
