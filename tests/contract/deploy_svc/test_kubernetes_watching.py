"""What is known of a cluster by watching it, whatever becomes of the watches; on the fake cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deploy_svc.kubernetes.clusters import Clusters
from deploy_svc.kubernetes.credentials import read_kubeconfig
from deploy_svc.kubernetes.names import handle
from deploy_svc.kubernetes.pod_logs import PodLogs
from deploy_svc.kubernetes.watching import Watching
from mesh.clock import SystemClock
from mesh.errors import Unavailable
from tests.support.cluster_target import TestCluster
from tests.support.eventually import eventually
from tests.support.kubernetes import FakeKubernetes, Fault
from tests.support.kubernetes.api import Target
from tests.support.kubernetes.deleting import DeleteOptions
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.resources import PODS, SERVICES

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


class Here:
    """Where the only instance is."""

    def handle_of(self, instance: str) -> str:
        return handle("apps", "hello", 0, "fake")


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

    async def is_ready(watching: Watching) -> bool:
        try:
            await watching.ready()
        except Unavailable:  # of another kind, whose watch was cut off by the stop and has not begun anew
            return False
        return True

    async with watched(cluster, changed) as watching:
        fake.faults.add(Fault(410, times=None, verb=verb, resource="services"))
        fake.stop()
        make(fake, "hello", ONE)
        fake.compact()
        fake.start()
        await eventually(lambda: fake.requests.count(verb, "services", code=410) > 1)
        await eventually(lambda: is_ready(watching))
        if verb == "list":
            fake.faults.clear()
        await eventually(lambda: watching.objects(ONE))


async def test_a_log_that_is_silent_is_opened_again(cluster: TestCluster, fake: FakeKubernetes) -> None:
    """Somebody between may have forgotten the connection without a word."""
    labels = {"fnmesh.dev/mesh": MESH, "function_id": ONE}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hello", "namespace": "apps", "labels": labels},
        "spec": {"containers": [{"name": "function", "image": "hello:1"}]},
    }  # fmt: skip
    fake.api.create(Target(PODS, "apps"), pod, Options(manager="somebody"))
    fake.settle()
    clusters = Clusters(read_kubeconfig(str(cluster.administrator)), MESH, SystemClock(), lambda uid: None)
    seen: list[bytes] = []

    async def read() -> None:
        async for lines in PodLogs(clusters, Here(), silent_s=(0.05, 0.1)).output("in-1", 0):
            seen.extend(one.text for one in lines)

    def opened() -> int:
        return sum(one.subresource == "log" for one in fake.requests.all())

    async def follow() -> None:
        async with asyncio.TaskGroup() as tasks:
            clusters.attach(tasks)
            await clusters.open("fake").watching.ready()
            await read()

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow())
        for number in range(3):
            before = opened()
            await eventually(lambda count=before: opened() > count + 1)
            fake.kubelet.write_log("apps", "hello", f"line {number}")
            await eventually(lambda count=number: len(seen) > count)
        assert seen == [b"line 0", b"line 1", b"line 2"]
        following.cancel()
    await clusters.close()
