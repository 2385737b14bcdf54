"""Records are batched, bounded and not lost by an orderly stop."""

from __future__ import annotations

from collections.abc import Sequence

from invoke_svc.domain import Run, Trigger
from invoke_svc.executions import BATCH_ROWS, PENDING_LIMIT, PRUNE_INTERVAL_S, ExecutionRecorder
from invoke_svc.identity import new_run_uid, new_trace, read_traceparent
from invoke_svc.spool import Spool
from mesh.clock import FakeClock
from tests.support.eventually import eventually


class FakeStore:
    def __init__(self) -> None:
        self.batches: list[int] = []
        self.runs: list[Run] = []
        self.broken = False
        self.pruned: list[tuple[Sequence[str], int, float]] = []

    async def append(self, runs: Sequence[Run], *, again: bool = False) -> None:
        if self.broken:
            raise OSError("no database")
        self.batches.append(len(runs))
        self.runs.extend(runs)

    async def get(self, function_uid: str, uid: str) -> Run | None:
        return None

    async def newest(self, function_uid: str, limit: int, before: str | None, *, bodies: bool = False) -> list[Run]:
        return []

    async def prune(self, function_uids: Sequence[str], kept: int, oldest: float) -> int:
        self.pruned.append((function_uids, kept, oldest))
        return 0


def run(number: int = 0) -> Run:
    return Run(new_run_uid(number), Trigger.HTTP, number, "", function_uid="fn-1")


def recorder(
    store: FakeStore, clock: FakeClock | None = None, interval_s: float = 60.0, spool: Spool | None = None
) -> ExecutionRecorder:
    return ExecutionRecorder(store, clock or FakeClock(), spool, flush_interval_s=interval_s, kept=10, kept_days=1)


async def test_a_full_batch_is_written_before_its_time_and_the_rest_at_the_end() -> None:
    store = FakeStore()
    records = recorder(store)
    async with records.running():
        for number in range(BATCH_ROWS):
            records.add(run(number))
        await eventually(lambda: store.batches == [BATCH_ROWS])
        records.add(run())
    assert store.batches == [BATCH_ROWS, 1]


async def test_what_the_store_refuses_waits_in_order_up_to_a_limit() -> None:
    store = FakeStore()
    store.broken = True
    records = recorder(store, interval_s=0.01)
    runs = [run(number) for number in range(PENDING_LIMIT + 5)]
    async with records.running():
        for one in runs:
            records.add(one)
        assert records.dropped == 5
        store.broken = False
    assert [one.uid for one in store.runs] == [one.uid for one in runs[:PENDING_LIMIT]]


async def test_old_records_are_pruned_now_and_then() -> None:
    store, clock = FakeStore(), FakeClock()
    records = recorder(store, clock, 0.01)
    async with records.running():
        records.add(run())
        await eventually(lambda: store.runs)
        assert store.pruned == []
        clock.advance(PRUNE_INTERVAL_S + 1)
        await eventually(lambda: store.pruned)
    assert store.pruned[0] == (["fn-1"], 10, clock.now().timestamp() - 86_400)


def test_identifiers_sort_by_time() -> None:
    uids = [new_run_uid(now) for now in (1.0, 1.001, 1.002, 2.0, 1e9, 2e9)]
    assert uids == sorted(uids)
    assert {len(uid) for uid in uids} == {30}
    assert len({new_run_uid(1.0) for _ in range(1000)}) == 1000


def test_traceparents() -> None:
    trace_id, header = new_trace()
    assert read_traceparent(header) == (trace_id, False)
    assert read_traceparent(header[:-2] + "01") == (trace_id, True)
    for bad in ("", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "ff" + header[2:], header.upper() + "x", "00-1-2-3"):
        assert read_traceparent(bad) == ("", False)
