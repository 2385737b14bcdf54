"""What is known of a cluster by watching it, whatever becomes of the watches; on the fake cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deploy_svc.kubernetes.watching import Watching
from tests.support.cluster_target import TestCluster
from tests.support.eventually import eventually
from tests.support.kubernetes import FakeKubernetes, Fault
from tests.support.kubernetes.api import Target
from tests.support.kubernetes.deleting import DeleteOptions
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.resources import SERVICES

MESH = "a-mesh"
ONE, OTHER = "fn-aaaaaaaaaaaa", "fn-bbbbbbbbbbbb"


@asynccontextmanager
async def watched(cluster: TestCluster, changed: list[str]) -> AsyncIterator[Watching]:
    async with cluster.api() as api, asyncio.TaskGroup() as tasks:
        watching = Watching(api, MESH, changed.append, lambda: None)
        running = tasks.create_task(watching.run())
        await watching.ready()
        yield watching
        running.cancel()


def make(fake: FakeKubernetes, name: str, function: str) -> None:
    labels = {"fnmesh.dev/mesh": MESH, "function_id": function}
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "apps", "labels": labels},
        "spec": {"ports": [{"port": 80}], "selector": {"app": name}},
    }  # fmt: skip
    fake.api.create(Target(SERVICES, "apps"), service, Options(manager="somebody"))


def remove(fake: FakeKubernetes, name: str) -> None:
    fake.api.delete(Target(SERVICES, "apps", name), DeleteOptions())


@pytest.mark.parametrize("relisted", [False, True])
async def test_an_object_that_changes_its_owner_under_one_name(
    cluster: TestCluster, fake: FakeKubernetes, relisted: bool
) -> None:
    make(fake, "hello", ONE)
    changed: list[str] = []
    async with watched(cluster, changed) as watching:
        assert [one.name for one in watching.objects(ONE)] == ["hello"]
        changed.clear()
        fake.stop()
        remove(fake, "hello")
        make(fake, "hello", OTHER)
        if relisted:  # nothing tells of the removal then
            fake.compact()
        fake.start()
        await eventually(lambda: watching.objects(OTHER))
        assert not watching.objects(ONE)
        assert set(changed) == {ONE, OTHER}


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_version_that_is_forgotten_is_no_refusal(cluster: TestCluster, fake: FakeKubernetes, verb: str) -> None:
    """410 as the status of an answer: of a later page of a list, or of a watch."""
    changed: list[str] = []
    async with watched(cluster, changed) as watching:
        fake.faults.add(Fault(410, times=None, verb=verb, resource="services"))
        fake.stop()
        make(fake, "hello", ONE)
        fake.compact()
        fake.start()
        await eventually(lambda: fake.requests.count(verb, "services", code=410) > 1)
        await watching.ready()
        if verb == "list":
            fake.faults.clear()
        await eventually(lambda: watching.objects(ONE))
