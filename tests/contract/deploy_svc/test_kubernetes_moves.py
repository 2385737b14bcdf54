"""Functions that move: between targets, namespaces and clusters; and very many of them on one cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fnmesh.deploy.v1 import deploy_service_pb2 as pb
from fnmesh.deploy.v1 import deployment_pb2 as d
from fnmesh.deploy.v1 import usage_service_pb2 as usage_pb
from fnmesh.deploy.v1 import usage_service_pb2_grpc as usage_grpc
from fnmesh.registry.v1 import function_pb2 as f
from mesh.rpc_client import open_channel
from tests.support.cluster_target import UID, TestCluster, app, deploying, fake_cluster
from tests.support.deploy_harness import Client, DeployHarness, Revision
from tests.support.eventually import eventually
from tests.support.kubernetes import FakeKubernetes, Ready, Starting, Usage

LOCAL = Revision({"app/handler.py": "def handler(event):\n    return 'here'\n"})
MANY = 60


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[TestCluster]:
    with fake_cluster(tmp_path, metrics=True) as one:
        yield one


@pytest.fixture
async def mesh(cluster: TestCluster) -> AsyncIterator[DeployHarness]:
    async with deploying(cluster, reaps=True, FNMESH_DEPLOY_USAGE_INTERVAL_S="0.2") as one:
        yield one


def targets(deployment: d.Deployment) -> set[int]:
    """Where instances of it answer."""
    return {one.target for one in deployment.instances if one.state == d.INSTANCE_STATE_READY}


async def answers_only_on(client: Client, target: int, revision: int) -> None:
    async def there() -> bool:
        now = await client.deployment(UID)
        assert now.state == f.DEPLOYMENT_STATE_READY and targets(now) == {target}, now
        assert list(now.ready_revisions) == [revision], now
        return True

    await eventually(there)


async def test_to_a_cluster_and_back(cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness) -> None:
    settings = cluster.settings(app_name="hello")
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, LOCAL)
        await answers_only_on(client, f.TARGET_PROCESS, 1)
        fake.kubelet.behave(Starting())
        await mesh.want(UID, 2, app(), cluster=settings)
        await eventually(lambda: fake.list("pods", "apps"))
        assert targets(await client.deployment(UID)) == {f.TARGET_PROCESS}, "it serves until the new place does"
        fake.kubelet.forget()
        fake.kubelet.set_all(Ready())
        await answers_only_on(client, f.TARGET_KUBERNETES, 2)

        await mesh.want(UID, 1, cluster=settings)
        await answers_only_on(client, f.TARGET_PROCESS, 1)
        await eventually(lambda: not fake.list("pods", "apps"))
        assert await cluster.objects() == {}


async def test_the_target_of_the_revision_counts(cluster: TestCluster, mesh: DeployHarness) -> None:
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, LOCAL)
        mesh.registry.functions[UID].function.target = f.TARGET_KUBERNETES  # the next build will be for a cluster
        await mesh.registry.put(mesh.registry.functions[UID])
        await answers_only_on(client, f.TARGET_PROCESS, 1)


@pytest.mark.parametrize(("revision", "runs_on", "next_target"), [
    (LOCAL, f.TARGET_PROCESS, f.TARGET_KUBERNETES), (app(), f.TARGET_KUBERNETES, f.TARGET_PROCESS),
])  # fmt: skip
async def test_nothing_is_taken_away_while_the_registry_cannot_say_where_it_belongs(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, revision: Revision, runs_on: int, next_target: int
) -> None:
    registry = mesh.registry
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, revision, cluster=cluster.settings(app_name="hello"))
        await answers_only_on(client, runs_on, 1)
        before = [one.uid for one in (await client.deployment(UID)).instances]
        registry.functions[UID].function.target = next_target  # a build for another target is running
        await registry.put(registry.functions[UID])
        await answers_only_on(client, runs_on, 1)
    registry.silent, registry.asked = True, 0
    fake.requests.reset()
    async with mesh.here(), mesh.client() as client:
        await eventually(lambda: registry.asked >= 4)
        assert [one.uid for one in (await client.deployment(UID)).instances] == before
        assert targets(await client.deployment(UID)) == {runs_on}
        assert not fake.requests.count("deletecollection")
        registry.silent = False
        await answers_only_on(client, runs_on, 1)
        assert [one.uid for one in (await client.deployment(UID)).instances] == before


async def test_to_another_namespace(cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness) -> None:
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(secrets={"A": "b"}), cluster=cluster.settings(app_name="hello"))
        await answers_only_on(client, f.TARGET_KUBERNETES, 1)
        await mesh.want(UID, 1, cluster=f.ClusterSettings(app_name="hello"))  # the default namespace

        async def moved() -> bool:
            assert await cluster.objects() == {}
            return len(fake.list("pods", "default")) == 1 and bool(fake.list("secrets", "default"))

        await eventually(moved)
        await answers_only_on(client, f.TARGET_KUBERNETES, 1)


async def test_to_another_cluster(cluster: TestCluster, mesh: DeployHarness) -> None:
    with FakeKubernetes(namespaces=("apps",)) as second:
        second.kubeconfig(cluster.kubeconfig, "second")
        async with mesh.here(), mesh.client() as client:
            answer = await client.deploy.ListTargets(pb.ListTargetsRequest())
            told = next(one for one in answer.targets if one.target == f.TARGET_KUBERNETES)
            assert list(told.contexts) == ["fake", "second"]
            await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
            await answers_only_on(client, f.TARGET_KUBERNETES, 1)
            await mesh.want(UID, 1, cluster=cluster.settings(app_name="hello", context="second"))
            await eventually(lambda: second.list("pods", "apps"))

            async def gone() -> bool:
                return await cluster.objects() == {}

            await eventually(gone)
            await answers_only_on(client, f.TARGET_KUBERNETES, 1)
            await mesh.want(UID, 1, cluster=cluster.settings(app_name="hello", context="second"), deleted=True)
            await eventually(lambda: UID in mesh.registry.deleted)
            assert not second.list("pods", "apps") and not second.list("deployments", "apps")


async def test_a_cluster_that_is_down_keeps_no_other_from_being_emptied(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    with FakeKubernetes(namespaces=("apps",)) as second:
        second.kubeconfig(cluster.kubeconfig, "second")
        there = cluster.settings(app_name="hello", context="second")
        async with mesh.here(), mesh.client() as client:
            await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
            await answers_only_on(client, f.TARGET_KUBERNETES, 1)
            fake.stop()
            await mesh.want(UID, 1, cluster=there)
            await eventually(lambda: second.list("pods", "apps"))
            await mesh.want(UID, 1, cluster=there, deleted=True)
            await eventually(lambda: not second.list("deployments", "apps"))
            assert UID not in mesh.registry.deleted

            async def told() -> bool:
                assert "The cluster of context 'fake' does not answer" in mesh.registry.reports[-1].message
                return True

            await eventually(told)
            fake.start()
            await eventually(lambda: UID in mesh.registry.deleted)
            assert await cluster.objects() == {}


async def test_away_from_a_cluster_that_is_not_known_any_more(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    known = cluster.kubeconfig.read_text()
    with FakeKubernetes(namespaces=("apps",)) as second:
        second.kubeconfig(cluster.kubeconfig, "second")
        async with mesh.here(), mesh.client() as client:
            await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello", context="second"))
            await answers_only_on(client, f.TARGET_KUBERNETES, 1)
        cluster.kubeconfig.write_text(known)
        async with mesh.here(), mesh.client() as client:
            await mesh.want(UID, 2, app(), cluster=cluster.settings(app_name="hello"))
            await answers_only_on(client, f.TARGET_KUBERNETES, 2)
            assert len(fake.list("pods", "apps")) == len(second.list("pods", "apps")) == 1
            reports = [one for one in mesh.registry.reports if "knows no cluster" in one.message]
            assert not reports, "what cannot be cleaned up is no trouble of what serves"
            second.kubeconfig(cluster.kubeconfig, "second")
        async with mesh.here(), mesh.client() as client:
            await eventually(lambda: not second.list("deployments", "apps"))
            await answers_only_on(client, f.TARGET_KUBERNETES, 2)


async def test_usage_is_that_of_the_metrics_server(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        pod = fake.list("pods", "apps")[0]["metadata"]["uid"]
        fake.kubelet.usage[pod] = Usage(cpu="250m", memory="64Mi")
        async with open_channel(mesh.load_settings().deploy_address, token=mesh.token) as channel:
            usage = usage_grpc.UsageServiceStub(channel)

            async def measured() -> bool:
                request = usage_pb.GetFunctionUsageRequest(name=f"workspaces/ws-default/functions/{UID}")
                now = (await usage.GetFunctionUsage(request)).current
                assert now.memory_bytes == 64 << 20 and now.cpus == pytest.approx(0.25, rel=0.05), now
                return True

            await eventually(measured)


async def test_usage_of_a_cluster_while_another_is_down(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    with FakeKubernetes(namespaces=("apps",), metrics=True) as second:
        second.kubeconfig(cluster.kubeconfig, "second")
        async with mesh.here(), mesh.client() as client:
            for uid, context in ((UID, "fake"), ("fn-bbbbbbbbbbbb", "second")):
                await mesh.want(uid, 1, app(), cluster=cluster.settings(app_name="hello", context=context))
                await client.until(uid, f.DEPLOYMENT_STATE_READY, 1)
            second.stop()
            fake.kubelet.usage[fake.list("pods", "apps")[0]["metadata"]["uid"]] = Usage(cpu="250m", memory="64Mi")
            async with open_channel(mesh.load_settings().deploy_address, token=mesh.token) as channel:
                usage = usage_grpc.UsageServiceStub(channel)

                async def measured() -> bool:
                    request = usage_pb.GetFunctionUsageRequest(name=f"workspaces/ws-default/functions/{UID}")
                    now = (await usage.GetFunctionUsage(request)).current
                    assert now.memory_bytes == 64 << 20, now
                    return True

                await eventually(measured)


async def test_very_many_functions_cost_one_watch_and_no_write(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    uids = [f"fn-{number:012d}" for number in range(MANY)]
    async with mesh.here(), mesh.client() as client:
        for uid in uids:
            await mesh.want(uid, 1, app(), cluster=cluster.settings())
        for uid in uids:
            await client.until(uid, f.DEPLOYMENT_STATE_READY, 1, 90)
        kinds = ("deployments", "pods", "services", "endpointslices", "poddisruptionbudgets")
        assert [fake.requests.count("list", kind) for kind in kinds] == [1] * len(kinds)
    fake.requests.reset()
    async with mesh.here(), mesh.client() as client:
        first = f"fn-{MANY:012d}"
        await mesh.want(first, 1, app(), cluster=cluster.settings())
        await client.until(first, f.DEPLOYMENT_STATE_READY, 1, 60)
        for uid in uids:
            await client.until(uid, f.DEPLOYMENT_STATE_READY, 1, 60)
        assert {one.name for one in fake.requests.all() if one.verb == "patch"} == {f"fn-{first[3:]}"}
        assert [fake.requests.count("list", kind) for kind in kinds] == [1] * len(kinds)
        assert fake.requests.count("get", "deployments") <= 1
