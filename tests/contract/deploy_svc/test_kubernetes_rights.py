"""What deploy/chart lets deploy_svc do on a cluster is enough: its driver lives on these rights from deploy to end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fnmesh.deploy.v1 import usage_service_pb2 as usage_pb
from fnmesh.deploy.v1 import usage_service_pb2_grpc as usage_grpc
from fnmesh.deploy.v1.deployment_pb2 import INSTANCE_STATE_READY
from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as endpoint_pb
from fnmesh.registry.v1 import function_pb2 as f
from mesh.rpc_client import open_channel
from tests.support.chart_golden import GOLDEN
from tests.support.cluster_target import IMAGE, UID, TestCluster, app, deploying
from tests.support.deploy_harness import DeployHarness
from tests.support.eventually import eventually
from tests.support.helm import objects
from tests.support.kubernetes import FakeKubernetes, Rule

PATIENCE_S = 90.0
_NAMESPACE = "fnmesh-functions"


def _rules(manifests: list[dict[str, Any]]) -> Iterator[Rule]:
    for one in manifests:
        for rule in one["rules"] if one["kind"] in ("Role", "ClusterRole") else ():
            # A namespace itself is not in one; a Role may name its own all the same.
            namespace = "" if rule["resources"] == ["namespaces"] else one["metadata"].get("namespace", "")
            yield Rule(
                rule["verbs"], rule["resources"], namespace, groups=rule["apiGroups"], names=rule.get("resourceNames")
            )


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[TestCluster]:
    with FakeKubernetes(spinkube=True, metrics=True, namespaces=(_NAMESPACE,)) as fake:
        token = fake.access.grant(list(_rules(objects(next(iter(GOLDEN)).read_text()))))
        own = fake.kubeconfig(tmp_path / "own", token=token)
        yield TestCluster(own, fake.kubeconfig(tmp_path / "administrator"), _NAMESPACE, IMAGE, fake)


@pytest.fixture
async def mesh(cluster: TestCluster) -> AsyncIterator[DeployHarness]:
    async with deploying(cluster, FNMESH_DEPLOY_USAGE_INTERVAL_S="0.5") as one:
        yield one


async def test_the_rights_of_the_chart_are_enough(cluster: TestCluster, mesh: DeployHarness) -> None:
    fake = cluster.fake
    assert fake is not None
    named = cluster.settings(app_name="hello")
    async with mesh.here(), mesh.client() as client:

        async def there_are(*kinds: str) -> bool:
            assert set(await cluster.objects()) == set(kinds)
            return True

        await mesh.want(UID, 1, app(IMAGE, secrets={"TOKEN": "x"}), cluster=named, instances=2)
        ready = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, PATIENCE_S)
        assert await there_are("Deployment", "Service", "Secret", "PodDisruptionBudget")
        stuck = next(one for one in ready.instances if one.state == INSTANCE_STATE_READY)
        await client.endpoints.RetireInstance(endpoint_pb.RetireInstanceRequest(instance=stuck.uid, reason="stuck"))
        await eventually(lambda: fake.requests.count("delete", "pods") >= 1, PATIENCE_S)
        async with open_channel(mesh.load_settings().deploy_address, token=mesh.token) as channel:
            usage = usage_grpc.UsageServiceStub(channel)

            async def nodes_were_listed() -> bool:
                await usage.GetTargetUsage(usage_pb.GetTargetUsageRequest(target=f.TARGET_KUBERNETES))
                return fake.requests.count("list", "nodes") > 0

            await eventually(nodes_were_listed, PATIENCE_S)

        await mesh.want(UID, 1, cluster=cluster.settings(app_name="hello", autoscaling=True), instances=1)
        scaled = ("Deployment", "Service", "Secret", "HorizontalPodAutoscaler")
        await eventually(lambda: there_are(*scaled), PATIENCE_S)

        moved = cluster.settings(app_name="other")
        await mesh.want(UID, 1, cluster=moved, instances=1)
        await eventually(lambda: there_are("Deployment", "Service", "Secret"), PATIENCE_S)
        await mesh.want(UID, 1, cluster=moved, instances=1, deleted=True)
        await eventually(there_are, PATIENCE_S)
    refused = [(one.verb, one.resource, one.name) for one in fake.requests.all() if one.code == 403]
    assert refused == []
