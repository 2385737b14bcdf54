"""Counts of runs on both databases, and StatsService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from fnmesh.invoke.v1 import stats_service_pb2 as pb
from fnmesh.invoke.v1 import stats_service_pb2_grpc
from invoke_svc.domain import Run, Trigger
from invoke_svc.identity import new_run_uid
from invoke_svc.stats.store import KEPT_S, StatsStore
from invoke_svc.stats.totals import BOUNDS_S
from invoke_svc.store import MIGRATIONS, SqlExecutionStore
from mesh.clock import FakeClock
from mesh.db import Database
from mesh.errors import InvalidArgument, NotFound
from mesh.rpc_client import open_channel
from tests.support.eventually import eventually


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    one = Database(database_url, schema="invoke")
    await one.migrate(MIGRATIONS)
    yield one
    await one.close()


def runs_at(clock: FakeClock, count: int, function: str = "fn-1", **fields: Any) -> list[Run]:
    started = clock.now().timestamp()
    return [
        Run(new_run_uid(started), Trigger.HTTP, started, "", function_uid=function, duration_s=0.01, **fields)
        for _ in range(count)
    ]


async def test_ten_thousand_runs_of_two_processes_are_all_counted(database: Database, database_url: str) -> None:
    clock = FakeClock()
    other = Database(database_url, schema="invoke")
    try:
        async with asyncio.TaskGroup() as tasks:
            for mine in (database, other):
                store = SqlExecutionStore(mine)
                for number in range(10):
                    tasks.create_task(store.append(runs_at(clock, 500, failed=number == 0)))
    finally:
        await other.close()

    found = await StatsStore(database, clock).summaries(["fn-1", "fn-2"], 3600)

    assert list(found) == ["fn-1"]
    assert (found["fn-1"].invocations, found["fn-1"].failures) == (10_000, 1000)
    assert found["fn-1"].p99_s == pytest.approx(0.01, rel=0.1)
    totals = (await StatsStore(database, clock).totals(["fn-1", "fn-2"]))["fn-1"]
    assert (totals.invocations, totals.failures, totals.duration_s) == (10_000, 1000, pytest.approx(100.0))
    assert dict(zip(BOUNDS_S, totals.within, strict=True)) | {0.005: 0} == {
        bound: 10_000 if bound >= 0.01 else 0 for bound in BOUNDS_S
    }


async def test_a_batch_in_doubt_is_counted_once(database: Database) -> None:
    clock = FakeClock()
    store = SqlExecutionStore(database)
    first, second = runs_at(clock, 3), runs_at(clock, 2)
    await store.append(first)

    await store.append([*first, *second], again=True)

    found = await StatsStore(database, clock).summaries(["fn-1"], 3600)
    assert found["fn-1"].invocations == 5


async def test_counts_outlive_the_records_and_go_with_time(database: Database) -> None:
    clock = FakeClock()
    store, stats = SqlExecutionStore(database), StatsStore(database, clock)
    await store.append(runs_at(clock, 20))
    await store.prune(["fn-1"], 1, 0.0)
    assert len(await store.newest("fn-1", 100, None)) == 1
    assert (await stats.summaries(["fn-1"], 3600))["fn-1"].invocations == 20

    clock.advance(2 * 3600)
    assert await stats.summaries(["fn-1"], 3600) == {}
    await stats.prune()
    assert (await stats.summaries(["fn-1"], 86_400))["fn-1"].invocations == 20
    clock.advance(KEPT_S)
    await stats.prune()
    assert await stats.summaries(["fn-1"], 10 * KEPT_S) == {}
    assert await stats.totals(["fn-1"]) == {}


async def test_stats_of_functions_that_ran(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says("HTTP/1.1 200 OK")), "fn-good")
    await mesh.function(kit.always(kit.says("HTTP/1.1 500 No")), "fn-bad")
    await mesh.function(kit.always(kit.says("HTTP/1.1 200 OK")), "fn-idle")
    for _ in range(3):
        await mesh.http(path="/api/good")
    await mesh.http(path="/api/bad")
    async with open_channel(mesh.running.address) as channel:
        stub = stats_service_pb2_grpc.StatsServiceStub(channel)

        async def counted() -> dict[str, tuple[int, int]]:
            answer = await stub.ListFunctionStats(pb.ListFunctionStatsRequest(parent="workspaces/default/functions/-"))
            found = {one.function: (one.invocations, one.failures) for one in answer.stats}
            assert sum(runs for runs, _ in found.values()) == 4
            return found

        assert await eventually(counted) == {
            "workspaces/ws-1/functions/fn-bad": (1, 1),
            "workspaces/ws-1/functions/fn-good": (3, 0),
        }
        one = await stub.ListFunctionStats(pb.ListFunctionStatsRequest(parent="workspaces/ws-1/functions/fn-good"))
        assert one.stats[0].p50_duration.ToTimedelta() > timedelta(0)
        totals = await stub.ListFunctionTotals(pb.ListFunctionTotalsRequest(parent="workspaces/-/functions/-"))
        assert {one.function: (one.invocations, one.failures) for one in totals.totals} == await counted()
        assert totals.totals[1].duration_seconds > 0
        assert totals.totals[1].buckets[-1].invocations == 3
        none = await stub.ListFunctionStats(pb.ListFunctionStatsRequest(parent="workspaces/other/functions/-"))
        assert not none.stats
        with pytest.raises(NotFound):
            await stub.ListFunctionStats(pb.ListFunctionStatsRequest(parent="workspaces/ws-1/functions/nobody"))
        with pytest.raises(InvalidArgument):
            await stub.ListFunctionStats(
                pb.ListFunctionStatsRequest(parent="workspaces/-/functions/-", period=Duration(seconds=1))
            )
