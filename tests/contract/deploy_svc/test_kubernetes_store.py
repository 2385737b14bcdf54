"""What deploy_svc keeps of functions on clusters, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy_svc.app import MIGRATIONS
from deploy_svc.domain import LOCAL_TARGETS, ClusterSettings, DeploymentState, Instance, InstanceState, Target
from deploy_svc.kubernetes.app_spec import Place
from deploy_svc.kubernetes.app_store import AppStore
from deploy_svc.store import Desired, Store
from mesh.db import Database

NOW = datetime(2030, 1, 1, tzinfo=UTC)
UID, OTHER = "fn-abcdefghijkl", "fn-bbbbbbbbbbbb"
SETTINGS = ClusterSettings("prod", "apps", "hello", "runner", True, True, ("regcred", "mirror"))
HERE, THERE = Place("prod", "apps"), Place("prod", "default")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    url = database_url.replace("+aiosqlite", "").replace("+asyncpg", "")
    database = Database(url, schema="deploy")
    await database.migrate(MIGRATIONS)
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> Store:
    store = Store(database)
    for uid in (UID, OTHER):
        await store.apply(desired(uid=uid), NOW)
    return store


@pytest.fixture
def apps(database: Database) -> AppStore:
    return AppStore(database)


def desired(version: int = 1, **fields: Any) -> Desired:
    base = Desired(
        uid=UID, name=f"workspaces/ws-1/functions/{UID}", display_name="hello", version=version, revision=1,
        running=True, min_instances=1, target=Target.KUBERNETES, deleted=False, max_instances=7, cluster=SETTINGS,
    )  # fmt: skip
    return replace(base, **fields)


def pod(uid: str = "in-1", **fields: Any) -> Instance:
    base = Instance(uid, UID, 1, Target.KUBERNETES, InstanceState.STARTING, NOW, handle="apps/hello-1@0@prod")
    return replace(base, **fields)


async def test_cluster_settings_are_kept(store: Store) -> None:
    function = await store.function(UID)
    assert function is not None and function.cluster == SETTINGS and function.max_instances == 7
    await store.apply(desired(2, cluster=ClusterSettings()), NOW)
    function = await store.function(UID)
    assert function is not None and function.cluster == ClusterSettings()


async def test_a_deleted_function_is_kept_while_it_may_be_somewhere(store: Store, apps: AppStore) -> None:
    for _ in range(2):
        await apps.place(UID, HERE)
    await apps.place(UID, THERE)
    assert await apps.placements() == {UID: {HERE, THERE}}
    await store.apply(desired(2, deleted=True), NOW)
    assert await store.forgettable() == []
    await apps.displace(UID, HERE)
    assert await store.forgettable() == []
    await apps.displace(UID, THERE)
    assert await store.forgettable() == [UID]


async def test_what_is_on_a_cluster_outlives_the_mesh(store: Store, apps: AppStore) -> None:
    await apps.place(UID, HERE)
    for uid in (UID, OTHER):
        function = await store.function(uid)
        assert function is not None
        await store.settle(function, DeploymentState.READY, "", ready_revision=1, forgive=(), now=NOW)
    await store.set_pending(NOW)
    found = [await store.function(uid) for uid in (UID, OTHER)]
    assert [one and one.state for one in found] == [DeploymentState.READY, DeploymentState.PENDING]


async def test_who_is_at_home_on_a_cluster(store: Store, apps: AppStore) -> None:
    for uid in (UID, OTHER):
        function = await store.function(uid)
        assert function is not None
        await store.settle(function, DeploymentState.READY, "", ready_revision=1, forgive=(), now=NOW)
    assert await apps.at_home() == {}
    for uid in (UID, OTHER):
        await apps.place(uid, HERE)
    await apps.write(UID, [pod()])
    await apps.write(OTHER, [pod("in-3", function_uid=OTHER), pod("in-4", function_uid=OTHER)])
    at_home = await apps.at_home()
    assert at_home == {uid: await apps.situation(uid) for uid in (UID, OTHER)}
    assert [len(pods) for _, pods in at_home.values()] in ([1, 2], [2, 1])
    await store.add_instance(Instance("in-2", UID, 1, Target.PROCESS, InstanceState.STARTING, NOW))
    await store.apply(desired(2, uid=OTHER, revision=2), NOW)
    assert await apps.at_home() == {}


async def test_pods_are_rows(store: Store, apps: AppStore) -> None:
    assert await apps.situation("fn-nobody") is None
    local = Instance("in-2", UID, 1, Target.PROCESS, InstanceState.STARTING, NOW)
    await store.add_instance(local)
    await apps.write(UID, [pod()])
    ready = pod(state=InstanceState.READY, address="10.0.0.1:8080", ready_at=NOW)
    await apps.write(UID, [ready])
    assert [one.uid for one in await store.live_instances([Target.KUBERNETES])] == ["in-1"]
    assert [one.uid for one in await store.live_instances(LOCAL_TARGETS)] == ["in-2"]
    assert len(await store.live_instances()) == 2
    await store.change_instance("in-1", retired="stuck")
    found = await apps.situation(UID)
    assert found is not None and [one.uid for one in found[1]] == ["in-1"]
    [row] = found[1]
    assert (row.state, row.address, row.retired, row.live) == (InstanceState.READY, "10.0.0.1:8080", "stuck", True)
    changed, version = await store.changed_since(0)
    assert {one.uid for one in changed} == {"in-1", "in-2"} and found[0].deployment_version <= version
    await apps.write(UID, [replace(row, state=InstanceState.FAILED, ended_at=NOW, message="why")])
    assert await store.uncleaned() == [] and [one.uid for one in await store.live_instances()] == ["in-2"]
    one = await store.instance("in-1")
    assert one is not None and one.message == "why" and one.retired == "stuck"
