"""A cluster that is slow, busy, down, forgetful or forbids things, and what comes of functions meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fnmesh.registry.v1 import function_pb2 as f
from tests.support.cluster_target import UID, TestCluster, app, deploying
from tests.support.deploy_harness import Client, DeployHarness, watching
from tests.support.errors_page import answers
from tests.support.eventually import eventually
from tests.support.kubernetes import FakeKubernetes, Fault, NotReady, Rule

SAID = answers("Functions on a cluster")
_ALL = ("get", "list", "watch", "create", "patch", "delete", "deletecollection")


@pytest.fixture
async def mesh(cluster: TestCluster) -> AsyncIterator[DeployHarness]:
    async with deploying(cluster) as one:
        yield one


async def test_a_cluster_that_is_down(cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness) -> None:
    settings = cluster.settings(app_name="hello")
    fake.stop()
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=settings)

        async def pending() -> bool:
            now = await client.deployment(UID)
            assert now.message.startswith("The cluster of context 'fake' does not answer: "), now
            return now.state == f.DEPLOYMENT_STATE_PENDING

        await eventually(pending)
        fake.start()
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, 60)
        async with watching(client) as watcher:
            await eventually(watcher.accepting)
            fake.stop()
            await mesh.want(UID, 1, cluster=settings, instances=2)
            await eventually(lambda: _has_tried(client))
            assert len(watcher.accepting()) == 1, "pods of a cluster that does not answer still serve"
            fake.start()
            await eventually(lambda: len(watcher.accepting()) == 2)


@pytest.mark.parametrize("code", [429, 500, 503, 409, 0])
@pytest.mark.parametrize("after", [False, True])
async def test_writes_that_fail_are_finished(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, code: int, after: bool
) -> None:
    async with mesh.here(), mesh.client() as client:
        fake.faults.add(Fault(code, times=2, verb="patch", resource="services", after=after))
        await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, 60)
        await eventually(lambda: cluster.objects())
        assert await cluster.objects() == {"Deployment": ["hello"], "Service": ["hello"]}


async def test_a_cluster_that_is_slow(cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness) -> None:
    async with mesh.here(), mesh.client() as client:
        fake.faults.latency_s = 0.3
        await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, 60)
        await mesh.want(UID, 1, cluster=cluster.settings(app_name="hello"), deleted=True)
        await eventually(lambda: UID in mesh.registry.deleted)


async def test_watches_that_break_or_are_too_old(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    settings = cluster.settings(app_name="hello")
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=settings)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        listed = fake.requests.count("list", "pods")
        fake.stop()
        fake.start()
        await mesh.want(UID, 2, app(env={"A": "2"}), cluster=settings)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 2, 60)
        assert fake.requests.count("list", "pods") == listed, "a stream that broke is resumed"
        fake.stop()
        fake.scale("apps", "hello", 3, manager="somebody")
        fake.settle()
        fake.compact()
        fake.start()
        await eventually(lambda: fake.requests.count("list", "pods") > listed)
        await eventually(lambda: _answering(client, 3))


async def test_what_is_forbidden_is_named(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, tmp_path: Path
) -> None:
    objects = ("pods", "pods/log", "services", "endpointslices", "horizontalpodautoscalers", "poddisruptionbudgets")
    others = Rule(_ALL, (*objects, "namespaces", "secrets", "spinapps"))
    token = fake.access.grant([others, Rule(("get", "list", "watch"), ("deployments",))])
    mesh.settings["FNMESH_DEPLOY_KUBECONFIG"] = str(fake.kubeconfig(tmp_path / "narrow", token=token))
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
        failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED)
        assert failed.message == SAID["something that deploy_svc's account may not do"]
    assert await cluster.objects() == {}


def _by_file(mesh: DeployHarness, fake: FakeKubernetes, directory: Path) -> tuple[Path, str]:
    """Has deploy_svc read its token from a file; the file, and what is in it."""
    token_file, token = directory / "token", fake.access.grant(None)
    token_file.write_text(token)
    mesh.settings["FNMESH_DEPLOY_KUBECONFIG"] = str(fake.kubeconfig(directory / "byfile", token_file=token_file))
    return token_file, token


async def test_credentials_that_run_out_are_read_anew(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, tmp_path: Path
) -> None:
    token_file, token = _by_file(mesh, fake, tmp_path)
    settings = cluster.settings(app_name="hello")
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=settings)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        fake.access.expire(token)
        await mesh.want(UID, 2, app(env={"A": "b"}), cluster=settings)

        async def told() -> bool:
            now = await client.deployment(UID)
            assert now.message == SAID["credentials that have run out"], now
            return True

        await eventually(told)
        token_file.write_text(fake.access.grant(None))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 2, 60)


async def test_a_new_token_is_taken_without_a_word(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, tmp_path: Path
) -> None:
    token_file, token = _by_file(mesh, fake, tmp_path)
    settings = cluster.settings(app_name="hello")
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=settings)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        token_file.write_text(fake.access.grant(None))
        fake.access.expire(token)
        await mesh.want(UID, 2, app(env={"A": "b"}), cluster=settings)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 2, 60)
        assert not [one for one in mesh.registry.reports if "credentials" in one.message]


async def test_one_kind_that_cannot_be_watched_holds_up_no_other(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    """A conversion webhook of SpinApps that is broken: they cannot be listed, nor watched."""
    fake.install_spinkube()
    fake.faults.add(Fault(500, times=None, resource="spinapps"))
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, 60)
        async with watching(client) as watcher:
            await eventually(watcher.accepting)
            fake.kubelet.set_all(NotReady())
            await eventually(lambda: not watcher.accepting())


async def test_rows_are_written_while_what_makes_pods_cannot_be_watched(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, 60)
    for verb in ("list", "watch"):
        fake.faults.add(Fault(500, times=None, verb=verb, resource="horizontalpodautoscalers"))
    async with mesh.here(), mesh.client() as client, watching(client) as watcher:
        await eventually(watcher.accepting)
        fake.kubelet.set_all(NotReady())
        await eventually(lambda: not watcher.accepting())


async def _has_tried(client: Client) -> bool:
    return (await client.deployment(UID)).version > 0


async def _answering(client: Client, count: int) -> bool:
    now = await client.deployment(UID)
    ready = [one for one in now.instances if one.state == 2]
    assert len(ready) == count, now
    return True
