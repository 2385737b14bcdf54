"""Spin components on a cluster, with SpinKube and without; on the fake cluster, whose operator is a small one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy_svc.kubernetes.kinds import SPIN_APP
from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as endpoint_pb
from fnmesh.registry.v1 import function_pb2 as f
from tests.support.cluster_target import BAD_IMAGE, UID, TestCluster, app, deploying
from tests.support.deploy_harness import Client, DeployHarness
from tests.support.errors_page import answers
from tests.support.eventually import eventually
from tests.support.kubernetes import Evicted, FakeKubernetes, Starting, image_pull_back_off


@pytest.fixture
async def mesh(cluster: TestCluster) -> AsyncIterator[DeployHarness]:
    async with deploying(cluster) as one:
        yield one


async def test_a_spin_app_from_its_deploy_to_its_end(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    fake.install_spinkube()
    settings = cluster.settings(app_name="hello")
    revision = app(runtime=f.RUNTIME_SPIN, env={"GREETING": "hi"}, secrets={"TOKEN": "x"})
    await mesh.want(UID, 1, revision, cluster=settings, instances=2)
    deployment = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
    assert len(deployment.instances) == 2
    assert await cluster.objects() == {"SpinApp": ["hello"], "Secret": [f"hello-{UID}"]}
    spec = (await cluster.get(SPIN_APP, "hello"))["spec"]
    assert spec["replicas"] == 2 and spec["executor"] == "containerd-shim-spin"
    assert [one["name"] for one in spec["variables"]] == ["greeting", "token"]

    await mesh.want(UID, 2, app(runtime=f.RUNTIME_SPIN), cluster=settings, instances=2)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 2)
    await mesh.want(UID, 2, cluster=settings, deleted=True)
    await eventually(lambda: UID in mesh.registry.deleted)
    assert await cluster.objects() == {} and not fake.list("pods", "apps") and not fake.list("deployments", "apps")


async def test_an_app_that_becomes_a_component_wants_another_name(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    fake.install_spinkube()
    for name, runtimes in (("one", (f.RUNTIME_PYTHON, f.RUNTIME_SPIN)), ("two", (f.RUNTIME_SPIN, f.RUNTIME_PYTHON))):
        uid = f"fn-{name:a>12}"
        settings = cluster.settings(app_name=name)
        await mesh.want(uid, 1, app(runtime=runtimes[0]), cluster=settings, instances=1)
        await client.until(uid, f.DEPLOYMENT_STATE_READY, 1)
        await mesh.want(uid, 2, app(runtime=runtimes[1]), cluster=settings, instances=1)
        failed = await client.until(uid, f.DEPLOYMENT_STATE_FAILED, 1)
        said = answers("Functions on a cluster")
        row = said["a function that becomes a Spin component under the name of its Deployment"]
        if runtimes[0] == f.RUNTIME_SPIN:
            row = row.replace("'one' is a Deployment", "'two' is a SpinApp").replace("a SpinApp:", "a Deployment:")
        assert failed.message == row
        await mesh.want(uid, 2, cluster=cluster.settings(app_name=f"{name}-b"), instances=1)
        await client.until(uid, f.DEPLOYMENT_STATE_READY, 2)

        await eventually(lambda uid=uid, name=name: _only_runs(fake, uid, f"{name}-b"))


def _only_runs(fake: FakeKubernetes, uid: str, name: str) -> bool:
    pods = fake.list("pods", "apps", function_id=uid)
    return {one["metadata"]["labels"]["app.kubernetes.io/name"] for one in pods} == {name}


async def test_a_component_that_cannot_be_pulled_and_a_rollback(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    fake.install_spinkube()
    fake.kubelet.behave(image_pull_back_off(BAD_IMAGE), image=BAD_IMAGE)
    settings = cluster.settings(app_name="hello")
    await mesh.want(UID, 1, app(runtime=f.RUNTIME_SPIN), cluster=settings, instances=1)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
    await mesh.want(UID, 2, app(BAD_IMAGE, runtime=f.RUNTIME_SPIN), cluster=settings, instances=1)
    await eventually(lambda: _says(client, "its image cannot be pulled (ImagePullBackOff)"))
    fake.advance(3600)
    failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED, 1)
    assert failed.message.endswith("Revision 1 keeps serving.")
    fake.kubelet.behave(Starting())
    fake.advance(3600)
    await mesh.want(UID, 3, app(runtime=f.RUNTIME_SPIN, env={"A": "b"}), cluster=settings, instances=1)
    await eventually(lambda: _says(client, "0 of 1 pod of revision 3 answer."))
    assert (await client.deployment(UID)).state == f.DEPLOYMENT_STATE_STARTING, "that was of revision 2"
    await mesh.want(UID, 1, cluster=settings, instances=1)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)


async def _says(client: Client, words: str) -> bool:
    now = await client.deployment(UID)
    assert words in now.message, now
    return True


async def test_an_autoscaled_spin_app_is_scaled_by_its_deployment(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    fake.install_spinkube()
    settings = cluster.settings(app_name="hello", autoscaling=True)
    await mesh.want(UID, 1, app(runtime=f.RUNTIME_SPIN), cluster=settings, instances=1, most=3)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
    spec = (await cluster.get(SPIN_APP, "hello"))["spec"]
    assert spec["enableAutoscaling"] is True and "replicas" not in spec
    target = fake.get("horizontalpodautoscalers", "hello", "apps")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "hello"}


async def test_without_spinkube_it_is_said_what_to_install(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    await mesh.want(UID, 1, app(runtime=f.RUNTIME_SPIN), cluster=cluster.settings(app_name="hello"))
    failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED)
    assert failed.message == answers("Functions on a cluster")["a Spin component for a cluster without SpinKube"]
    assert await cluster.objects() == {}
    fake.install_spinkube()
    await mesh.want(UID, 2, app(runtime=f.RUNTIME_SPIN), cluster=cluster.settings(app_name="hello"))
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 2)


@pytest.mark.parametrize("runtime", [f.RUNTIME_PYTHON, f.RUNTIME_SPIN])
async def test_scale_to_zero_and_back(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client, runtime: int
) -> None:
    fake.install_spinkube()
    settings = cluster.settings(app_name="hello")
    await mesh.want(UID, 1, app(runtime=runtime), cluster=settings, instances=0, idle_ttl_s=3600)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
    await mesh.want(UID, 1, cluster=settings, instances=0, idle_ttl_s=0.5)  # not before: it might rest unseen

    async def rests() -> bool:
        now = await client.deployment(UID)
        assert now.message == "Scaled to zero: the next request starts an instance." and not now.ready_revisions
        assert now.state == f.DEPLOYMENT_STATE_READY and not fake.list("pods", "apps")
        return True

    await eventually(rests)
    await mesh.want(UID, 1, cluster=settings, instances=0, idle_ttl_s=3600)
    await eventually(rests)
    await client.endpoints.ActivateFunction(endpoint_pb.ActivateFunctionRequest(function_uid=UID))
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)

    await mesh.want(UID, 1, cluster=settings, instances=0, idle_ttl_s=0.5)
    await eventually(rests)
    await mesh.want(UID, 2, app(runtime=runtime), cluster=settings, instances=0, idle_ttl_s=3600)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 2)


async def test_a_pod_that_failed_keeps_no_component_asleep(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    fake.install_spinkube()
    settings = cluster.settings(app_name="hello")
    await mesh.want(UID, 1, app(runtime=f.RUNTIME_SPIN), cluster=settings, instances=0, idle_ttl_s=3600)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
    evicted = fake.list("pods", "apps")[0]["metadata"]["name"]
    fake.kubelet.set("apps", evicted, Evicted())
    await eventually(lambda: len(fake.list("pods", "apps")) == 2)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
    await mesh.want(UID, 1, cluster=settings, instances=0, idle_ttl_s=0.5)
    await eventually(lambda: [one["metadata"]["name"] for one in fake.list("pods", "apps")] == [evicted])
    await eventually(lambda: _says(client, "Scaled to zero"))
    await mesh.want(UID, 1, cluster=settings, instances=0, idle_ttl_s=3600)
    await client.endpoints.ActivateFunction(endpoint_pb.ActivateFunctionRequest(function_uid=UID))
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
