"""A function on a cluster, from its first deploy to its end: the fake cluster always, a real one where it is named."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy_svc.kubernetes.kinds import DEPLOYMENT, SERVICE
from fnmesh.deploy.v1.deployment_pb2 import INSTANCE_STATE_READY
from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as endpoint_pb
from fnmesh.registry.v1 import function_pb2 as f
from tests.support.cluster_target import BAD_IMAGE, REAL, UID, TestCluster, app, deploying, fake_cluster, real_cluster
from tests.support.deploy_harness import Client, DeployHarness, Watcher, watching
from tests.support.errors_page import answers
from tests.support.eventually import eventually
from tests.support.kubernetes import image_pull_back_off

OTHER = "fn-bbbbbbbbbbbb"
PATIENCE_S = 90.0
SAID = answers("Functions on a cluster")


@pytest.fixture(params=["fake", *(["real"] if REAL else [])])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestCluster]:
    with (fake_cluster if request.param == "fake" else real_cluster)(tmp_path) as one:
        yield one


@pytest.fixture
async def mesh(cluster: TestCluster) -> AsyncIterator[DeployHarness]:
    progress_s = "20" if cluster.fake else "60"  # a real one pulls images
    async with deploying(cluster, FNMESH_DEPLOY_KUBERNETES_PROGRESS_S=progress_s) as one:
        yield one


async def message(client: Client, words: str, uid: str = UID) -> str:
    """What the deployment says, once those words are in it."""

    async def said() -> str:
        told = (await client.deployment(uid)).message
        assert words in told, told
        return told

    return await eventually(said, PATIENCE_S)


async def test_from_the_first_deploy_to_the_end(cluster: TestCluster, mesh: DeployHarness, client: Client) -> None:
    settings = cluster.settings(app_name="hello")
    async with watching(client) as watcher:
        await mesh.want(UID, 1, app(cluster.image), cluster=settings, instances=2)
        first = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
        assert [one.state for one in first.instances] == [INSTANCE_STATE_READY] * 2
        assert {one.target for one in first.instances} == {f.TARGET_KUBERNETES}
        assert all(one.handle.startswith(f"{cluster.namespace}/hello-") for one in first.instances)
        assert await cluster.objects() == {
            "Deployment": ["hello"], "Service": ["hello"], "PodDisruptionBudget": ["hello"],
        }  # fmt: skip
        endpoints = await eventually(lambda: _accepting(watcher, 1, 2), PATIENCE_S)
        assert all(one.address.endswith(":8080") and one.concurrency == 10 for one in endpoints)

        await mesh.want(UID, 2, app(cluster.image, env={"A": "2"}), cluster=settings, instances=2)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 2, PATIENCE_S)
        await eventually(lambda: _accepting(watcher, 2, 2), PATIENCE_S)

        if cluster.fake:
            cluster.fake.kubelet.behave(image_pull_back_off(BAD_IMAGE), image=BAD_IMAGE)
        await mesh.want(UID, 3, app(BAD_IMAGE), cluster=settings, instances=2)
        await message(client, "its image cannot be pulled")
        assert len(await eventually(lambda: _accepting(watcher, 2, 2), PATIENCE_S)) == 2
        if cluster.fake:
            cluster.fake.advance(60)
        failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED, 2, PATIENCE_S)
        assert "0 of 2 pods of revision 3 answer; pod hello-" in failed.message
        assert failed.message.endswith("Revision 2 keeps serving.")
        if cluster.fake:
            said = re.sub(r"pod [a-z0-9-]+|[0-9a-f]{64}", _anonymous, failed.message)
            assert said == SAID["an image that the cluster cannot pull"]
        assert len(_accepting(watcher, 2, 2)) == 2

        await mesh.want(UID, 1, cluster=settings, instances=2)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
        await eventually(lambda: _accepting(watcher, 1, 2), PATIENCE_S)

        await mesh.want(UID, 1, cluster=settings, instances=2, running=False)
        await client.until(UID, f.DEPLOYMENT_STATE_STOPPED, deadline_s=PATIENCE_S)
        assert await cluster.objects() == {} and not watcher.accepting()

        await mesh.want(UID, 1, cluster=settings)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
        await mesh.want(UID, 1, cluster=settings, deleted=True)
        await eventually(lambda: _reported_deleted(mesh), PATIENCE_S)
        assert await cluster.objects() == {}


async def test_a_spin_app_is_made_and_removed(cluster: TestCluster, mesh: DeployHarness, client: Client) -> None:
    """On a real cluster the kind is enough: nothing here waits for its operator."""
    if cluster.fake:
        cluster.fake.install_spinkube()
    settings = cluster.settings(app_name="hello")
    await mesh.want(UID, 1, app(cluster.image, runtime=f.RUNTIME_SPIN), cluster=settings)

    async def made() -> bool:
        now = await client.deployment(UID)
        assert await cluster.objects() == {"SpinApp": ["hello"]}, now
        return True

    await eventually(made, PATIENCE_S)
    await mesh.want(UID, 1, cluster=settings, deleted=True)
    await eventually(lambda: _reported_deleted(mesh), PATIENCE_S)
    assert await cluster.objects() == {}


async def test_only_what_carries_the_label_is_deleted(
    cluster: TestCluster, mesh: DeployHarness, client: Client
) -> None:
    for uid, name in ((UID, "mine"), (OTHER, "other")):
        await mesh.want(uid, 1, app(cluster.image), cluster=cluster.settings(app_name=name))
        await client.until(uid, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
    await mesh.want(UID, 1, cluster=cluster.settings(app_name="mine"), deleted=True)
    await eventually(lambda: _reported_deleted(mesh), PATIENCE_S)
    assert await cluster.objects() == {}
    assert await cluster.objects(OTHER) == {"Deployment": ["other"], "Service": ["other"]}


async def test_an_unknown_namespace(cluster: TestCluster, mesh: DeployHarness, client: Client) -> None:
    nowhere = f.ClusterSettings(namespace="no-such-place")
    await mesh.want(UID, 1, app(cluster.image), cluster=nowhere)
    failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED, deadline_s=PATIENCE_S)
    assert failed.message == SAID["a deploy to a namespace that is not there"]
    await mesh.want(UID, 1, cluster=nowhere, deleted=True)
    await eventually(lambda: _reported_deleted(mesh), PATIENCE_S)


async def test_an_unknown_context(cluster: TestCluster, mesh: DeployHarness, client: Client) -> None:
    await mesh.want(UID, 1, app(cluster.image), cluster=cluster.settings(context="elsewhere"))
    failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED, deadline_s=PATIENCE_S)
    said = SAID["a deploy to a context that the kubeconfig has not"]
    assert failed.message.partition("has: ")[0] == said.partition("has: ")[0]
    assert failed.message == said or cluster.fake is None


async def test_a_name_that_somebody_else_has(cluster: TestCluster, mesh: DeployHarness, client: Client) -> None:
    await mesh.want(OTHER, 1, app(cluster.image), cluster=cluster.settings(app_name="taken"))
    await client.until(OTHER, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
    before = await cluster.get(DEPLOYMENT, "taken")
    await mesh.want(UID, 1, app(cluster.image), cluster=cluster.settings(app_name="taken"))
    failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED, deadline_s=PATIENCE_S)
    said = SAID["an app name that something else has in the namespace"]
    assert failed.message == said.replace("'apps'", f"'{cluster.namespace}'")
    assert (await cluster.get(DEPLOYMENT, "taken"))["spec"] == before["spec"]
    await mesh.want(UID, 1, cluster=cluster.settings(app_name="free"))
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)


async def test_an_app_moves_to_another_name(cluster: TestCluster, mesh: DeployHarness, client: Client) -> None:
    secret = app(cluster.image, secrets={"TOKEN": "x"})
    await mesh.want(UID, 1, secret, cluster=cluster.settings(app_name="before"))
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
    await mesh.want(UID, 1, cluster=cluster.settings(app_name="after"))
    wanted = {"Deployment": ["after"], "Service": ["after"], "Secret": [f"after-{UID}"]}

    async def moved() -> bool:
        assert await cluster.objects() == wanted
        return True

    await eventually(moved, PATIENCE_S)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)


async def test_the_number_of_pods_is_given_away_and_taken_back(
    cluster: TestCluster, mesh: DeployHarness, client: Client
) -> None:
    plain = cluster.settings(app_name="hello")
    await mesh.want(UID, 1, app(cluster.image), cluster=plain)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
    scaled = cluster.settings(app_name="hello", autoscaling=True)
    await mesh.want(UID, 1, cluster=scaled, instances=2, most=3)
    if cluster.fake:
        await eventually(lambda: cluster.fake and cluster.fake.list("horizontalpodautoscalers", "apps"))
        cluster.fake.scale("apps", "hello", 2)
    await eventually(lambda: _has_ready(client, 2), PATIENCE_S)
    for instances in (1, 2):
        await mesh.want(UID, 1, cluster=plain, instances=instances)
        await eventually(lambda count=instances: _has_ready(client, count), PATIENCE_S)
    assert "HorizontalPodAutoscaler" not in await cluster.objects()


async def test_a_secret_that_is_not_needed_any_more(cluster: TestCluster, mesh: DeployHarness, client: Client) -> None:
    settings = cluster.settings(app_name="hello")
    await mesh.want(UID, 1, app(cluster.image, secrets={"TOKEN": "x"}), cluster=settings)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
    await mesh.want(UID, 2, app(cluster.image), cluster=settings)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 2, PATIENCE_S)

    async def gone() -> bool:
        assert "Secret" not in await cluster.objects()
        return "fnmesh.dev/secret" not in (await cluster.get(DEPLOYMENT, "hello"))["metadata"]["annotations"]

    await eventually(gone, PATIENCE_S)


async def test_what_was_removed_by_hand_is_made_again(
    cluster: TestCluster, mesh: DeployHarness, client: Client
) -> None:
    await mesh.want(UID, 1, app(cluster.image), cluster=cluster.settings(app_name="hello"))
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
    before = {kind: (await cluster.get(kind, "hello"))["metadata"]["uid"] for kind in (DEPLOYMENT, SERVICE)}
    async with cluster.api() as api:
        for kind in before:
            await api.delete(kind, cluster.namespace, "hello")

    async def made_again() -> bool:
        assert await cluster.objects() == {"Deployment": ["hello"], "Service": ["hello"]}
        for kind, uid in before.items():
            assert (await cluster.get(kind, "hello"))["metadata"]["uid"] != uid
        return True

    await eventually(made_again, PATIENCE_S)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)


async def test_a_retired_instance_is_replaced(cluster: TestCluster, mesh: DeployHarness, client: Client) -> None:
    await mesh.want(UID, 1, app(cluster.image), cluster=cluster.settings(app_name="hello"))
    ready = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
    stuck = next(one for one in ready.instances if one.state == INSTANCE_STATE_READY)
    await client.endpoints.RetireInstance(endpoint_pb.RetireInstanceRequest(instance=stuck.uid, reason="stuck"))

    async def replaced() -> bool:
        now = await client.deployment(UID)
        answering = [one.uid for one in now.instances if one.state == INSTANCE_STATE_READY]
        assert answering and stuck.uid not in answering, now
        return True

    await eventually(replaced, PATIENCE_S)


async def test_another_deploy_svc_takes_over(cluster: TestCluster, mesh: DeployHarness) -> None:
    settings = cluster.settings(app_name="hello")
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(cluster.image), cluster=settings)
        before = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
    if cluster.fake:
        cluster.fake.requests.reset()
    await asyncio.to_thread(mesh.reap)  # the end of `fnmesh up`, which leaves clusters as they are
    async with mesh.here(), mesh.client() as client:
        after = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
        assert [one.uid for one in after.instances] == [one.uid for one in before.instances]
        await mesh.want(OTHER, 1, app(cluster.image), cluster=cluster.settings(app_name="other"))
        await client.until(OTHER, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
        await mesh.want(UID, 1, cluster=settings, deleted=True)
        await eventually(lambda: _reported_deleted(mesh), PATIENCE_S)
    if cluster.fake:
        written = [one.name for one in cluster.fake.requests.all() if one.verb == "patch"]
        assert written == ["other", "other"], "what is as it should be costs no write"


async def _has_ready(client: Client, count: int) -> bool:
    now = await client.deployment(UID)
    assert now.state == f.DEPLOYMENT_STATE_READY, now
    return [one.state for one in now.instances].count(INSTANCE_STATE_READY) == count


def _anonymous(match: re.Match[str]) -> str:
    return "pod N" if match[0].startswith("pod ") else "N"


def _accepting(watcher: Watcher, revision: int, count: int) -> list[object]:
    found = watcher.accepting()
    assert [one.revision_number for one in found] == [revision] * count, found
    return list(found)


def _reported_deleted(mesh: DeployHarness) -> bool:
    assert UID in mesh.registry.deleted
    return True
