"""Pods as instances: their ends in words, their readiness, their logs; on the fake cluster."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from fnmesh.deploy.v1 import deploy_service_pb2 as pb
from fnmesh.deploy.v1 import deployment_pb2 as d
from fnmesh.registry.v1 import function_pb2 as f
from tests.support.cluster_target import UID, TestCluster, app, deploying
from tests.support.deploy_harness import Client, DeployHarness, watching
from tests.support.eventually import eventually
from tests.support.kubernetes import (
    Behaviour,
    Evicted,
    FakeKubernetes,
    NotReady,
    Ready,
    Unschedulable,
    Waiting,
    crash_loop_back_off,
    oom_killed,
)
from tests.support.kubernetes.api import Target
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.resources import SERVICES


@pytest.fixture
async def mesh(cluster: TestCluster) -> AsyncIterator[DeployHarness]:
    async with deploying(cluster) as one:
        yield one


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (Unschedulable(), "no node takes it (Unschedulable): 0/1 nodes are available"),
        (Waiting("ErrImagePull", "no such host"), "its image cannot be pulled (ErrImagePull): no such host."),
        (Waiting("CreateContainerConfigError", "bad"), "cannot be started (CreateContainerConfigError): bad."),
        (crash_loop_back_off(), "It exited with code 1. It was started 3 times again (CrashLoopBackOff)."),
        (oom_killed(), "It used more memory than its limit of 256Mi and was killed (OOMKilled)."),
    ],
)
async def test_why_a_pod_does_not_answer(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client, behaviour: Behaviour, words: str
) -> None:
    fake.kubelet.behave(behaviour)
    await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))

    async def said() -> bool:
        now = await client.deployment(UID)
        assert now.message.startswith("0 of 1 pod of revision 1 answer; pod hello-") and words in now.message, now
        return now.state == f.DEPLOYMENT_STATE_STARTING

    await eventually(said)


@pytest.mark.parametrize("others", [False, True])
async def test_a_pod_that_is_not_ready_gets_no_requests(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client, others: bool
) -> None:
    """Not either where somebody else's Service sends requests to any pod."""
    if others:
        labels, port = {"app.kubernetes.io/instance": "hello"}, [{"port": 80, "targetPort": "http"}]
        spec = {"selector": labels, "ports": port, "publishNotReadyAddresses": True}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "theirs"}, "spec": spec}
        fake.api.create(Target(SERVICES, "apps"), service, Options(manager="somebody"))
    await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
    async with watching(client) as watcher:
        await eventually(watcher.accepting)
        fake.kubelet.set_all(NotReady())
        await eventually(lambda: not watcher.accepting())
        fake.kubelet.set_all(Ready())
        await eventually(watcher.accepting)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)


async def test_a_restart_is_an_end_and_a_new_instance(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
    first = (await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)).instances[0]
    pod = fake.list("pods", "apps")[0]["metadata"]["name"]
    fake.kubelet.write_log("apps", pod, "before the end")
    fake.kubelet.set("apps", pod, oom_killed(restarts=0))

    async def ended() -> bool:
        now = await client.deployment(UID)
        old = next(one for one in now.instances if one.uid == first.uid)
        assert old.state == d.INSTANCE_STATE_FAILED, now
        return old.message == "It used more memory than its limit of 256Mi and was killed (OOMKilled)."

    await eventually(ended)
    fake.kubelet.restart("apps", pod)

    async def again() -> bool:
        now = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        answering = [one.uid for one in now.instances if one.state == d.INSTANCE_STATE_READY]
        return bool(answering) and answering != [first.uid]

    await eventually(again)
    fake.kubelet.write_log("apps", pod, "after it")
    await eventually(lambda: _has_lines(client, "before the end", "after it"))


async def test_an_evicted_pod_is_replaced(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
    first = (await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)).instances[0]
    pod = fake.list("pods", "apps")[0]["metadata"]["name"]
    fake.kubelet.set("apps", pod, Evicted())

    async def replaced() -> bool:
        now = await client.deployment(UID)
        states = {one.uid: (one.state, one.message) for one in now.instances}
        assert states[first.uid] == (d.INSTANCE_STATE_FAILED, "The node was low on resource: memory."), states
        return [one.state for one in now.instances if one.uid != first.uid] == [d.INSTANCE_STATE_READY]

    await eventually(replaced)


async def test_logs_of_all_pods_are_followed(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, client: Client
) -> None:
    await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"), instances=2)
    await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
    pods = [one["metadata"]["name"] for one in fake.list("pods", "apps")]
    for pod in pods:
        fake.kubelet.write_log("apps", pod, f"plain line of {pod}")
    trace = "0af7651916cd43dd8448eb211c80319c"
    framed = "\x1e" + json.dumps({"t": 1, "s": "stderr", "m": "framed", "trace": trace, "req": "r"})
    fake.kubelet.write_log("apps", pods[0], framed)
    await eventually(lambda: _has_lines(client, "framed", *(f"plain line of {pod}" for pod in pods)))
    line = next(one for one in await client.lines(UID) if one.text == "framed")
    assert line.stream == d.LOG_STREAM_STDERR and line.trace_id == trace and line.revision == 1

    fake.stop()  # and with it all streams
    for pod in pods:
        fake.kubelet.write_log("apps", pod, f"while nobody listened to {pod}")
    fake.start()
    await eventually(lambda: _has_lines(client, *(f"while nobody listened to {pod}" for pod in pods)))
    texts = [one.text for one in await client.lines(UID) if one.stream != d.LOG_STREAM_SYSTEM]
    assert len(texts) == len(set(texts)), "no line comes twice"


@pytest.mark.parametrize("away", [False, True])
async def test_logs_are_read_on_after_a_restart(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, away: bool
) -> None:
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        pod = fake.list("pods", "apps")[0]["metadata"]["name"]
        fake.kubelet.write_log("apps", pod, "before")
        await eventually(lambda: _has_lines(client, "before"))
    fake.kubelet.write_log("apps", pod, "between")
    if away:
        fake.stop()
    async with mesh.here(), mesh.client() as client:
        if away:
            await eventually(lambda: _has_tried(client))
            fake.start()
        await eventually(lambda: _has_lines(client, "before", "between"))
        fake.kubelet.write_log("apps", pod, "after")
        await eventually(lambda: _has_lines(client, "after"))
        texts = [one.text for one in await client.lines(UID) if one.stream != d.LOG_STREAM_SYSTEM]
        assert texts == ["before", "between", "after"]


async def _has_tried(client: Client) -> bool:
    answer = await client.deploy.ListTargets(pb.ListTargetsRequest())
    told = next(one for one in answer.targets if one.target == f.TARGET_KUBERNETES)
    return not told.available


async def _has_lines(client: Client, *texts: str) -> bool:
    found = {one.text for one in await client.lines(UID)}
    assert set(texts) <= found, found
    return True
