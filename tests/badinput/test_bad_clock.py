"""A clock that jumps, forward or back, while the mesh runs: what is decided by time must not go wrong by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from build_svc.app import MIGRATIONS as BUILD_MIGRATIONS
from build_svc.domain import Build, BuildState, Progress, Stage
from build_svc.leases import LeaseLost
from build_svc.store import BuildStore
from deploy_svc.domain import FailureKind, Failures, Function, Instance, InstanceState, Policy, Target
from deploy_svc.rollout import Situation, decide
from invoke_svc.domain import Run, Trigger
from invoke_svc.executions import PRUNE_INTERVAL_S, ExecutionRecorder
from invoke_svc.identity import new_run_uid
from invoke_svc.store import MIGRATIONS as INVOKE_MIGRATIONS
from invoke_svc.store import SqlExecutionStore
from mesh import ids
from mesh.auth import Principal
from mesh.clock import Countdowns, FakeClock, Steadiness
from mesh.db import Database
from mesh.errors import Unauthenticated
from registry_svc.api_keys import StoreKeyVerifier, new_key
from registry_svc.bootstrap import MIGRATIONS as REGISTRY_MIGRATIONS
from registry_svc.key_store import KeyStore

HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S
LEASE_S = 10.0
DIGEST = "sha256:" + "a" * 64
JUMPS = pytest.mark.parametrize("jump_s", [YEAR_S, -YEAR_S, HOUR_S, -HOUR_S, 1.5 * LEASE_S, -1.5 * LEASE_S])


class Builder:
    """A build_svc on a machine with a clock of its own."""

    def __init__(self, database: Database, name: str) -> None:
        self.clock = FakeClock()
        self.name = name
        self.store = BuildStore(database, self.clock)

    async def claim(self) -> str:
        """The build that it got, or nothing."""
        got = await self.store.claim(self.name, lease_s=LEASE_S, accept_s=30)
        return got.uid if got else ""

    async def keep(self, uid: str) -> None:
        await self.store.heartbeat(uid, self.name, LEASE_S)
        await self.store.record(uid, self.name, [Progress(Stage.INSTALL, 40)])


@pytest.fixture
async def builders(database_url: str) -> AsyncIterator[tuple[Builder, Builder]]:
    database = Database(database_url, schema="build")
    await database.migrate(BUILD_MIGRATIONS)
    try:
        yield Builder(database, "first"), Builder(database, "second")
    finally:
        await database.close()


async def _accepted(builder: Builder) -> str:
    build = Build(ids.new_sortable_id(), "workspaces/w/functions/f", "fn-f", DIGEST, False, BuildState.PENDING,
                  builder.clock.now())  # fmt: skip
    made, _ = await builder.store.create(build, "")
    await builder.store.accept(made.uid, revision="r/1", runtime="python", target="process", handler="handler")
    return made.uid


@JUMPS
async def test_no_build_has_two_workers_because_of_a_jump(builders: tuple[Builder, Builder], jump_s: float) -> None:
    first, second = builders
    uid = await _accepted(first)
    assert await first.claim() == uid

    for builder in builders:
        builder.clock.jump(jump_s)

    for _ in range(5):  # half a minute, in which the first one goes on with its work
        assert (await first.claim(), await second.claim()) == ("", "")
        await first.keep(uid)
        for builder in builders:
            builder.clock.advance(LEASE_S * 0.6)


@JUMPS
async def test_a_build_whose_worker_died_is_claimed_again_after_a_jump(
    builders: tuple[Builder, Builder], jump_s: float
) -> None:
    first, second = builders
    uid = await _accepted(first)
    await first.claim()
    assert await second.claim() == ""  # it has seen the lease

    for builder in builders:
        builder.clock.advance(1)
        builder.clock.jump(jump_s)

    assert await second.claim() == ""
    second.clock.advance(LEASE_S)
    assert await second.claim() == uid
    with pytest.raises(LeaseLost):
        await first.keep(uid)


async def test_machines_whose_clocks_differ_share_a_database(builders: tuple[Builder, Builder]) -> None:
    first, second = builders
    second.clock.jump(24 * HOUR_S)
    uids = {await _accepted(first) for _ in range(4)}

    got = {await first.claim(), await second.claim(), await first.claim(), await second.claim()}

    assert got == uids
    assert (await first.claim(), await second.claim()) == ("", "")


async def test_what_was_put_off_has_its_turn_after_a_jump_back(builders: tuple[Builder, Builder]) -> None:
    first, _ = builders
    again, done = await _accepted(first), await _accepted(first)
    assert {await first.claim(), await first.claim()} == {again, done}
    await first.store.postpone(again, "first", delay_s=1, counts=True)
    await first.store.finish(done, "first", BuildState.FAILED, error="Why.")
    await first.store.report_failed(done)
    assert (await first.claim(), list(await first.store.unreported(10))) == ("", [])

    first.clock.jump(-YEAR_S)

    assert await first.claim() == again
    assert [build.uid for build in await first.store.unreported(10)] == [done]


@pytest.mark.parametrize("jump_s", [10 * YEAR_S, -10 * YEAR_S])
async def test_no_execution_is_forgotten_because_of_a_jump(database_url: str, jump_s: float) -> None:
    database, clock = Database(database_url, schema="invoke"), FakeClock()
    await database.migrate(INVOKE_MIGRATIONS)
    store = SqlExecutionStore(database)
    records = ExecutionRecorder(store, clock, flush_interval_s=0.01, kept=100, kept_days=1)

    async def later(seconds: float) -> list[float]:
        """When the runs began that are there after one more, once all that has to be done then is done."""
        clock.advance(seconds)
        began = clock.now().timestamp()
        records.add(Run(new_run_uid(began), Trigger.HTTP, began, "", function_uid="fn-1"))
        await records.flush()
        await records.prune()
        return sorted(run.started for run in await store.newest("fn-1", 100, None))

    try:
        first = await later(PRUNE_INTERVAL_S)
        clock.jump(jump_s)
        for count in range(2, 5):
            assert len(await later(PRUNE_INTERVAL_S)) == count

        left = await later(2 * 24 * HOUR_S)  # time that really passes
    finally:
        await database.close()
    newest = clock.now().timestamp()
    assert left == ([newest] if jump_s > 0 else [newest, *first])  # what seems to be of the future stays


async def test_keys_follow_the_clock_and_revoked_ones_never_come_back(database_url: str) -> None:
    database, clock, keys = Database(database_url, schema="registry"), FakeClock(), KeyStore()
    await database.migrate(REGISTRY_MIGRATIONS)
    expiring, secret = new_key("", [1], "", clock.now(), clock.now() + timedelta(hours=1))
    revoked, revoked_secret = new_key("", [1], "", clock.now())
    verifier = StoreKeyVerifier(database, keys, clock)
    try:
        async with database.write() as conn:
            await keys.insert(conn, expiring)
            await keys.insert(conn, revoked)
            await keys.revoke(conn, revoked.key_id, clock.now())
        good = [await _is_good(verifier, secret)]
        for jump_s in (2 * HOUR_S, -YEAR_S):
            clock.jump(jump_s)
            good.append(await _is_good(verifier, secret))
            assert not await _is_good(verifier, revoked_secret)
    finally:
        await database.close()
    assert good == [True, False, True]  # an expiry is a time of day: a wrong one makes it wrong


async def _is_good(verifier: StoreKeyVerifier, secret: str) -> bool:
    try:
        return isinstance(await verifier.verify(secret), Principal)
    except Unauthenticated:
        return False


NOW = FakeClock().now()
FUNCTION = Function(
    uid="fn-1", name="workspaces/ws/functions/fn-1", display_name="f", version=1, revision=1, running=True,
    min_instances=1, target=Target.PROCESS,
)  # fmt: skip
READY = Instance(
    uid="in-1", function_uid="fn-1", revision=1, target=Target.PROCESS, state=InstanceState.READY, created_at=NOW,
    ready_at=NOW,
)  # fmt: skip


@pytest.mark.parametrize("kind", list(FailureKind))
def test_a_revision_that_failed_is_tried_again_after_a_jump_back(kind: FailureKind) -> None:
    failures = {1: Failures(1, 20, kind, NOW, "Why.")}
    policy = Policy()

    for later_s in (-YEAR_S, -HOUR_S, -90.0, -1.0, 0.0):
        now = NOW + timedelta(seconds=later_s)
        decision = decide(Situation(FUNCTION, [], (), failures), now, policy)
        waits_s = (decision.look_again_at - now).total_seconds() if decision.look_again_at else 0.0
        assert (decision.start == (1,)) == (decision.look_again_at is None)
        assert waits_s <= policy.backoff_cap_s


def test_failures_are_forgiven_after_a_jump_back() -> None:
    failures = {1: Failures(1, 3, FailureKind.CRASH, NOW, "Why.")}
    decision = decide(Situation(FUNCTION, [READY], (), failures), NOW - timedelta(hours=1), Policy())
    assert decision.forgive == (1,)


@JUMPS
def test_requests_under_way_are_not_cut_off_by_a_jump_nor_waited_for_without_an_end(jump_s: float) -> None:
    clock, policy = FakeClock(), Policy()
    countdowns = Countdowns(clock)
    stored = clock.now() + timedelta(seconds=35)

    def killed() -> bool:
        due = countdowns.due("in-1", stored, at_most_s=35)
        draining = replace(READY, state=InstanceState.DRAINING, drain_deadline=due)
        return decide(Situation(replace(FUNCTION, running=False), [draining]), clock.now(), policy).kill == ("in-1",)

    assert not killed()
    clock.jump(jump_s)
    assert not killed()
    clock.advance(34)
    assert not killed()
    clock.advance(1.5)
    assert killed()


@pytest.mark.parametrize("back_s", [HOUR_S, YEAR_S])
def test_a_deadline_of_before_a_jump_back_and_a_restart_is_near(back_s: float) -> None:
    clock = FakeClock()
    stored = clock.now() + timedelta(seconds=35)
    clock.jump(-back_s)

    due = Countdowns(clock).due("in-1", stored, at_most_s=35)

    assert due == clock.now() + timedelta(seconds=35)


def test_nothing_is_old_for_a_while_after_a_jump() -> None:
    clock = FakeClock()
    steadiness = Steadiness(clock)
    assert steadiness.lasted(HOUR_S)
    clock.advance(YEAR_S)
    clock.jump(30)  # a small correction
    assert steadiness.lasted(HOUR_S)

    clock.jump(-HOUR_S)

    assert not steadiness.lasted(HOUR_S)
    clock.advance(HOUR_S - 1)
    assert not steadiness.lasted(HOUR_S)
    clock.advance(1)
    assert steadiness.lasted(HOUR_S)
