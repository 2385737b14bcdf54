"""The tables of deploy_svc, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy_svc.app import MIGRATIONS
from deploy_svc.domain import (
    DeploymentState,
    FailureKind,
    Instance,
    InstanceState,
    LogLine,
    LogStream,
    Target,
)
from deploy_svc.log_store import LineFilter, LogBounds, LogStore
from deploy_svc.store import Desired, Store
from mesh.db import Database

NOW = datetime(2030, 1, 1, tzinfo=UTC)
UID = "fn-abcdefghijkl"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    url = database_url.replace("+aiosqlite", "").replace("+asyncpg", "")
    database = Database(url, schema="deploy")
    await database.migrate(MIGRATIONS)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def logs(database: Database) -> LogStore:
    return LogStore(database)


def desired(version: int = 1, **fields: Any) -> Desired:
    base = Desired(
        uid=UID, name=f"workspaces/ws-1/functions/{UID}", display_name="hello", version=version, revision=1,
        running=True, min_instances=1, target=Target.PROCESS, deleted=False,
    )  # fmt: skip
    return replace(base, **fields)


def instance(uid: str = "in-1", revision: int = 1) -> Instance:
    return Instance(uid, UID, revision, Target.PROCESS, InstanceState.STARTING, NOW, artifact=f"sha256:{revision}")


def line(text: str, trace: str = "") -> LogLine:
    return LogLine(UID, "in-1", 1, NOW, LogStream.STDOUT, text, trace)


async def test_only_newer_wishes_are_taken_over(store: Store) -> None:
    assert await store.apply(desired(5), NOW)
    assert not await store.apply(desired(5), NOW) and not await store.apply(desired(4, revision=9), NOW)
    assert await store.apply(desired(6, revision=2), NOW)
    assert await store.apply(desired(1, revision=3), NOW, force=True)
    function = await store.function(UID)
    assert function is not None and (function.version, function.revision) == (1, 3)


async def test_another_revision_is_pending_and_forgiven(store: Store) -> None:
    await store.apply(desired(1), NOW)
    await store.failed(UID, 2, FailureKind.START, "No.", NOW)
    await store.apply(desired(2, revision=2), NOW)
    found = await store.situation(UID)
    assert found is not None
    assert found[0].state is DeploymentState.PENDING and found[3] == {}
    assert [r.state for r in await store.pending_reports()] == [DeploymentState.PENDING]


async def test_a_change_that_deploys_nothing_is_not_reported(store: Store) -> None:
    await store.apply(desired(1), NOW)
    await store.apply(desired(2, display_name="other"), NOW)
    assert await store.pending_reports() == []


async def test_slots_are_the_smallest_free_numbers(store: Store) -> None:
    for n in range(3):
        await store.apply(desired(uid=f"fn-{n}"), NOW)
    await store.forget("fn-1")
    await store.apply(desired(uid="fn-3"), NOW)
    slots = {}
    for uid in await store.function_uids():
        found = await store.situation(uid)
        assert found is not None
        slots[uid] = found[1]
    assert slots == {"fn-0": 0, "fn-2": 2, "fn-3": 1}


async def test_instances_change_only_as_they_may_and_take_versions(store: Store) -> None:
    await store.apply(desired(), NOW)
    added = await store.add_instance(instance())
    ready = await store.change_instance("in-1", InstanceState.READY, ready_at=NOW, address="unix:/s")
    assert ready is not None and ready.version > added.version and ready.ready_at == NOW
    assert await store.change_instance("in-1", InstanceState.STARTING) is None
    assert await store.change_instance("in-0", InstanceState.READY) is None
    changed, version = await store.changed_since(added.version)
    assert [i.uid for i in changed] == ["in-1"] and version == ready.version
    function = await store.function(UID)
    assert function is not None and function.deployment_version == ready.version
    ended = await store.change_instance("in-1", InstanceState.FAILED, ended_at=NOW, message="Gone.")
    assert ended is not None and not ended.live
    assert await store.live_instances() == [] and [i.uid for i in await store.uncleaned()] == ["in-1"]


async def test_reports_until_acknowledged(store: Store) -> None:
    await store.apply(desired(), NOW)
    function = await store.function(UID)
    assert function is not None
    settle = {"ready_revision": 1, "forgive": (), "now": NOW}
    assert await store.settle(function, DeploymentState.READY, "", **settle)  # type: ignore[arg-type]
    (report,) = await store.pending_reports()
    await store.reported(UID, report.number)
    assert await store.pending_reports() == []
    function = await store.function(UID)
    assert function is not None and function.last_ready_revision == 1
    assert not await store.settle(function, DeploymentState.READY, "", **settle)  # type: ignore[arg-type]


async def test_a_decision_about_an_older_wish_is_not_kept(store: Store) -> None:
    await store.apply(desired(1), NOW)
    old = await store.function(UID)
    assert old is not None
    await store.apply(desired(2, revision=2), NOW)
    await store.settle(old, DeploymentState.READY, "", ready_revision=1, forgive=(), now=NOW)
    function = await store.function(UID)
    assert function is not None and function.state is DeploymentState.PENDING and function.last_ready_revision == 0


async def test_forgotten_when_nothing_is_held(store: Store, logs: LogStore) -> None:
    await store.apply(desired(), NOW)
    await store.add_instance(instance())
    await store.apply(desired(2, deleted=True), NOW)
    assert await store.forgettable() == []
    await store.change_instance("in-1", InstanceState.STOPPED, ended_at=NOW)
    assert await store.forgettable() == []
    await store.set_cleaned("in-1")
    assert await store.forgettable() == [UID]
    await logs.append([line("x")], {})
    await store.forget(UID)
    assert await store.function_uids() == [] and await logs.tail(UID, 10) == []
    await store.purge_ended(NOW + timedelta(seconds=1))
    assert await store.instance("in-1") is None


async def test_what_the_registry_does_not_know_any_more_is_deleted(store: Store) -> None:
    await store.apply(desired(), NOW)
    await store.apply(desired(uid="fn-other"), NOW)
    await store.keep_only({"fn-other"})
    gone, kept = await store.function(UID), await store.function("fn-other")
    assert gone is not None and gone.deleted and kept is not None and not kept.deleted


async def test_artifacts_of_the_last_revisions_are_used(store: Store) -> None:
    await store.apply(desired(), NOW)
    for number in range(1, 8):
        one = replace(instance(f"in-{number}", number), created_at=NOW + timedelta(seconds=number))
        await store.add_instance(one)
        await store.set_started(one.uid, artifact=f"sha256:{number}")
        await store.change_instance(one.uid, InstanceState.STOPPED, ended_at=NOW)
    assert await store.used_artifacts(newest=3) == {"sha256:5", "sha256:6", "sha256:7"}


async def test_cursor(store: Store) -> None:
    assert await store.cursor("registry") == 0
    await store.set_cursor("registry", 4)
    await store.set_cursor("registry", 7)
    assert await store.cursor("registry") == 7


async def test_lines_are_numbered_read_and_resumed(store: Store, logs: LogStore) -> None:
    await store.apply(desired(), NOW)
    await store.add_instance(instance())
    assert await logs.append([line("a"), line("b\0", "t1"), line("c")], {"in-1": 77}) == {UID}
    await logs.append([line("d", "t1")], {"in-1": 99})
    found = await store.instance("in-1")
    assert found is not None and found.log_position == 99
    assert [(one.sequence, one.text) for one in await logs.tail(UID, 2)] == [(3, "c"), (4, "d")]
    assert [one.text for one in await logs.after(UID, 0, limit=10, only=LineFilter(trace_id="t1"))] == ["b␀", "d"]
    assert [one.text for one in await logs.after(UID, 2, limit=1)] == ["c"]
    assert await logs.append([replace(line("x"), function_uid="fn-gone")], {}) == set()


async def test_lines_are_chosen_by_time_and_text(store: Store, logs: LogStore) -> None:
    await store.apply(desired(), NOW)
    texts = ["Error: 50% of a_b", "error: none", "fine", "Error: other"]
    lines = [replace(line(text), written_at=NOW + timedelta(seconds=n)) for n, text in enumerate(texts)]
    await logs.append(lines, {})

    async def found(**fields: Any) -> list[str]:
        return [one.text for one in await logs.tail(UID, 10, only=LineFilter(**fields))]

    assert await found(contains=["Error"]) == [texts[0], texts[3]]
    assert await found(contains=["Error", "% of a_"]) == [texts[0]]
    assert await found(lacks=["rror"]) == ["fine"]
    assert await found(start=NOW + timedelta(seconds=1), end=NOW + timedelta(seconds=3)) == texts[1:3]
    assert [one.text for one in await logs.tail(UID, 1, only=LineFilter(contains=["rror:"], lacks=["other"]))] == [
        texts[1]
    ]


async def test_logs_are_bounded(store: Store, logs: LogStore) -> None:
    await store.apply(desired(), NOW)
    await logs.append([line(f"{n:010}") for n in range(1200)], {})
    await logs.trim(UID, LogBounds(lines=1000, bytes=1 << 20))
    assert len(await logs.after(UID, 0, limit=5000)) == 1000
    await logs.trim(UID, LogBounds(lines=1000, bytes=95))
    assert [one.sequence for one in await logs.tail(UID, 100)] == list(range(1192, 1201))
    assert await logs.last_sequence(UID) == 1200
    await logs.expire(NOW + timedelta(seconds=1))
    assert await logs.tail(UID, 10) == [] and await logs.last_sequence(UID) == 1200
