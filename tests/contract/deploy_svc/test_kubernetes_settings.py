"""What a function's cluster settings make of its objects, and what is left alone; on the fake cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import yaml

from deploy_svc.kubernetes.errors import Asked
from deploy_svc.kubernetes.kinds import AUTOSCALER, DEPLOYMENT, SECRET
from deploy_svc.kubernetes.transport import MERGE
from fnmesh.deploy.v1 import deploy_service_pb2 as pb
from fnmesh.deploy.v1 import deployment_pb2 as d
from fnmesh.registry.v1 import function_pb2 as f
from mesh.errors import Aborted, FailedPrecondition
from tests.support.cluster_target import BAD_IMAGE, IMAGE, UID, TestCluster, app, deploying
from tests.support.deploy_harness import Client, DeployHarness
from tests.support.errors_page import answers
from tests.support.eventually import eventually
from tests.support.kubernetes import FakeKubernetes, Fault, image_pull_back_off


@pytest.fixture
async def mesh(cluster: TestCluster) -> AsyncIterator[DeployHarness]:
    async with deploying(cluster) as one:
        yield one


async def ready(client: Client, revision: int = 1) -> None:
    await client.until(UID, f.DEPLOYMENT_STATE_READY, revision)


async def test_autoscaling_leaves_the_number_of_pods_to_the_cluster(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    settings = cluster.settings(app_name="hello", autoscaling=True)
    await mesh.want(UID, 1, app(), cluster=settings, instances=2, most=5)
    await eventually(lambda: fake.list("horizontalpodautoscalers", "apps"))
    fake.scale("apps", "hello", 4)
    await ready(client)
    await mesh.want(UID, 2, app(env={"A": "b"}), cluster=settings, instances=2, most=5)
    await ready(client, 2)
    assert fake.get("deployments", "hello", "apps")["spec"]["replicas"] == 4
    spec = (await cluster.get(AUTOSCALER, "hello"))["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"], spec["scaleTargetRef"]["kind"]) == (2, 5, "Deployment")
    await mesh.want(UID, 2, cluster=cluster.settings(app_name="hello"), instances=1)

    async def gone() -> bool:
        assert await cluster.objects() == {"Deployment": ["hello"], "Service": ["hello"]}
        return True

    await eventually(gone)


@pytest.mark.parametrize("owned", [False, True])
async def test_the_number_of_pods_is_taken_back_from_the_autoscaler(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client, owned: bool
) -> None:
    """`owned`: another autoscaler had set it while it was the mesh's, so that it is owned until it is taken back."""
    plain, scaled = cluster.settings(app_name="hello"), cluster.settings(app_name="hello", autoscaling=True)
    await mesh.want(UID, 1, app(), cluster=plain)
    await ready(client)
    if owned:
        fake.scale("apps", "hello", 2)
    await mesh.want(UID, 1, cluster=scaled, most=5)
    await eventually(lambda: fake.list("horizontalpodautoscalers", "apps"))
    fake.scale("apps", "hello", 4)
    await eventually(lambda: _answering(client, 4))

    asked = mesh.registry.functions[UID].function
    asked.cluster.autoscaling = False
    request = pb.RenderManifestsRequest(function=asked, revision=1, ask_cluster=True)
    await client.deploy.RenderManifests(request)
    assert fake.list("horizontalpodautoscalers", "apps"), "who asks changes nothing"
    for instances in (1, 2):
        if not owned:  # a service that is killed between two steps goes on as well
            fake.faults.add(Fault(503, verb="patch", resource="deployments"))
        await mesh.want(UID, 1, cluster=plain, instances=instances)
        await eventually(lambda count=instances: _answering(client, count))
        assert not fake.list("horizontalpodautoscalers", "apps")
    assert not [one for one in mesh.registry.reports if "has set" in one.message]


async def test_what_others_set_is_not_taken_back(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
    await ready(client)
    fake.scale("apps", "hello", 3)  # by an autoscaler that is not the mesh's
    await mesh.want(UID, 1, cluster=cluster.settings(app_name="hello"), instances=2)
    await eventually(lambda: _told(client, "kube-controller-manager has set .spec.replicas"))
    request = pb.RenderManifestsRequest(function=mesh.registry.functions[UID].function, revision=1, ask_cluster=True)
    with pytest.raises(Aborted, match="kube-controller-manager has set"):
        await client.deploy.RenderManifests(request)
    assert fake.get("deployments", "hello", "apps")["spec"]["replicas"] == 3


async def test_secrets_are_in_a_secret_that_nobody_reads(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    settings = cluster.settings(app_name="hello")
    await mesh.want(UID, 1, app(env={"A": "plain"}, secrets={"TOKEN": "s3cr3t"}), cluster=settings)
    await ready(client)
    assert (await cluster.get(SECRET, f"hello-{UID}"))["data"] == {"TOKEN": "czNjcjN0"}
    container = fake.get("deployments", "hello", "apps")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "A", "value": "plain"} in container["env"] and "s3cr3t" not in str(container)
    read = [one for one in fake.requests.all() if one.resource == "secrets" and one.user != "kubernetes-admin"]
    assert {one.verb for one in read} == {"patch"}
    await mesh.want(UID, 2, app(), cluster=settings)
    await ready(client, 2)

    async def gone() -> bool:
        assert "Secret" not in await cluster.objects()
        return True

    await eventually(gone)


async def test_a_secret_goes_when_nobody_needs_it_any_more(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    """Pods of the revision before serve, and may be restarted, until the new one has come up; a service that is killed
    between the two knows of it as well.
    """
    settings = cluster.settings(app_name="hello")
    fake.kubelet.behave(image_pull_back_off(BAD_IMAGE), image=BAD_IMAGE)
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(secrets={"TOKEN": "s3cr3t"}), cluster=settings)
        await ready(client)
        await mesh.want(UID, 2, app(BAD_IMAGE), cluster=settings)
        await eventually(lambda: _told(client, "its image cannot be pulled"))
        assert "Secret" in await cluster.objects()
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 3, app(), cluster=settings)
        await ready(client, 3)

        async def gone() -> bool:
            assert await cluster.objects() == {"Deployment": ["hello"], "Service": ["hello"]}
            return "fnmesh.dev/secret" not in fake.get("deployments", "hello", "apps")["metadata"]["annotations"]

        await eventually(gone)
        await ready(client, 3)
    fake.requests.reset()
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 4, app(env={"A": "b"}), cluster=settings)
        await ready(client, 4)
        assert not fake.requests.writes("secrets")


async def test_fields_of_others_are_left_alone_and_conflicts_are_told(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    settings = cluster.settings(app_name="hello")
    await mesh.want(UID, 1, app(), cluster=settings)
    await ready(client)
    async with cluster.transport() as transport:
        path, asked = DEPLOYMENT.path("apps", "hello"), Asked("patch", DEPLOYMENT)
        theirs = {"metadata": {"annotations": {"team": "blue"}, "labels": {"team": "blue"}}}
        await transport.call("PATCH", path, asked, [("fieldManager", "kubectl-edit")], theirs, MERGE)
        await mesh.want(UID, 2, app(env={"A": "b"}), cluster=settings)
        await ready(client, 2)
        now = (await cluster.get(DEPLOYMENT, "hello"))["metadata"]
        assert now["annotations"]["team"] == now["labels"]["team"] == "blue"

        taken = {"spec": {"replicas": 3}}
        await transport.call("PATCH", path, asked, [("fieldManager", "kubectl-edit")], taken, MERGE)
        await mesh.want(UID, 3, app(env={"A": "c"}), cluster=settings)
        told = await eventually(lambda: _told(client, "kubectl-edit"))
    assert told == answers("Functions on a cluster")["a field that somebody else has set by hand"]
    assert fake.get("deployments", "hello", "apps")["spec"]["replicas"] == 3


async def test_spot_service_account_and_pull_secrets(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    settings = cluster.settings(
        app_name="hello", use_spot=True, service_account="default", image_pull_secrets=["regcred"]
    )
    await mesh.want(UID, 1, app(), cluster=settings)
    await ready(client)
    spec = fake.get("deployments", "hello", "apps")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "default" and spec["imagePullSecrets"] == [{"name": "regcred"}]
    assert spec["tolerations"] and spec["affinity"]["nodeAffinity"]


async def test_what_is_rendered_is_what_is_applied(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    settings = cluster.settings(app_name="hello", autoscaling=True)
    await mesh.want(UID, 4, app(env={"A": "b"}, secrets={"TOKEN": "x"}), cluster=settings, instances=2, most=3)
    await eventually(lambda: fake.list("horizontalpodautoscalers", "apps"))
    fake.scale("apps", "hello", 2)
    await ready(client, 4)
    function = mesh.registry.functions[UID].function
    function.env["A"] = "b"
    answer = await client.deploy.RenderManifests(pb.RenderManifestsRequest(function=function, revision=4))
    assert answer.app_name == "hello"
    objects = list(yaml.safe_load_all(answer.yaml))
    assert [one["kind"] for one in objects] == [
        "Secret", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget",
    ]  # fmt: skip
    assert objects[0]["data"] == {"TOKEN": ""}
    plurals = ("deployments", "services", "horizontalpodautoscalers", "poddisruptionbudgets")
    for plural, rendered in zip(plurals, objects[1:], strict=True):
        applied = fake.get(plural, "hello", "apps")["metadata"]["annotations"]["fnmesh.dev/applied"]
        assert applied == rendered["metadata"]["annotations"]["fnmesh.dev/applied"]
    writes = fake.requests.writes()
    other = f.Function(uid="fn-none", display_name="My App", runtime=f.RUNTIME_SPIN)
    answer = await client.deploy.RenderManifests(pb.RenderManifestsRequest(function=other, image=IMAGE))
    assert answer.app_name == "my-app" and "kind: SpinApp" in answer.yaml
    assert fake.requests.writes() == writes


async def test_without_a_current_context_functions_must_name_one(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness
) -> None:
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    del document["current-context"]
    cluster.kubeconfig.write_text(yaml.safe_dump(document))
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
        failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED)
        assert failed.message == answers("Functions on a cluster")["a deploy without a context where none is current"]
        asked = pb.RenderManifestsRequest(function=mesh.registry.functions[UID].function, revision=1, ask_cluster=True)
        with pytest.raises(FailedPrecondition, match="has no current context"):
            await client.deploy.RenderManifests(asked)
        await mesh.want(UID, 1, cluster=cluster.settings(app_name="hello", context="fake"))
        await ready(client)
        answer = await client.deploy.ListTargets(pb.ListTargetsRequest())
        told = next(one for one in answer.targets if one.target == f.TARGET_KUBERNETES)
        assert told.available and "There is no current context: functions must name one." in told.message


async def test_targets_tell_of_contexts(client: Client) -> None:
    answer = await client.deploy.ListTargets(pb.ListTargetsRequest())
    told = next(one for one in answer.targets if one.target == f.TARGET_KUBERNETES)
    assert told.available and list(told.contexts) == ["fake"] and told.message.startswith("Kubernetes v1.")


async def _answering(client: Client, count: int) -> bool:
    now = await client.deployment(UID)
    answering = [one for one in now.instances if one.state == d.INSTANCE_STATE_READY]
    assert now.state == f.DEPLOYMENT_STATE_READY and len(answering) == count, now
    return True


async def _told(client: Client, words: str) -> str:
    told = (await client.deployment(UID)).message
    assert words in told, told
    return told
