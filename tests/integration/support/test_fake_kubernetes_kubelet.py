"""The fake node: pods that become what a test says, their logs, their figures, and really running ones."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from kubernetes.client import ApiException

from tests.support.eventually import eventually_sync
from tests.support.kubernetes import (
    Behaviour,
    Evicted,
    FakeKubernetes,
    NotReady,
    Runs,
    Starting,
    Unschedulable,
    Usage,
    crash_loop_back_off,
    image_pull_back_off,
    oom_killed,
    samples,
)  # fmt: skip
from tests.support.kubernetes.plain_client import PlainClient, status_of
from tests.support.kubernetes.schemas import KUBERNETES_VERSION

PODS = "/api/v1/namespaces/default/pods"


def the_pod(cluster: FakeKubernetes) -> dict[str, Any]:
    cluster.settle()
    (pod,) = cluster.list("pods")
    return pod


@pytest.mark.parametrize(
    ("behaviour", "phase", "waiting"),
    [
        (image_pull_back_off("x"), "Pending", "ImagePullBackOff"),
        (crash_loop_back_off(), "Running", "CrashLoopBackOff"),
        (oom_killed(), "Running", "CrashLoopBackOff"),
        (Starting(), "Pending", "ContainerCreating"),
        (NotReady(), "Running", ""),
    ],
)
def test_a_pod_becomes_what_the_test_says(
    cluster: FakeKubernetes, admin: PlainClient, behaviour: Behaviour, phase: str, waiting: str
) -> None:
    cluster.kubelet.behave(behaviour, labels={"app": "hello"})
    admin.apply(samples.deployment())
    pod = the_pod(cluster)
    kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)
    (container,) = pod["status"]["containerStatuses"]
    assert (pod["status"]["phase"], container["state"].get("waiting", {}).get("reason", "")) == (phase, waiting)
    assert container["ready"] is False
    if behaviour == oom_killed():
        assert container["lastState"]["terminated"]["reason"] == "OOMKilled"
        assert (container["lastState"]["terminated"]["exitCode"], container["restartCount"]) == (137, 3)
    cluster.kubelet.set_all(cluster.kubelet.default, labels={"app": "hello"})
    assert the_pod(cluster)["status"]["containerStatuses"][0]["ready"] is True


def test_a_pod_no_node_takes(cluster: FakeKubernetes, admin: PlainClient) -> None:
    cluster.kubelet.default = Unschedulable("0/1 nodes are available: 1 Insufficient cpu.")
    admin.apply(samples.deployment())
    pod = the_pod(cluster)
    (condition,) = pod["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("PodScheduled", "Unschedulable")
    assert condition["message"] == "0/1 nodes are available: 1 Insufficient cpu."
    assert "nodeName" not in pod["spec"]


def test_an_evicted_pod_is_replaced(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment())
    first = the_pod(cluster)["metadata"]["name"]
    cluster.kubelet.set("default", first, Evicted())
    cluster.settle()
    pods = {pod["metadata"]["name"]: pod["status"] for pod in cluster.list("pods")}
    assert (pods[first]["phase"], pods[first]["reason"], len(pods)) == ("Failed", "Evicted", 2)


def test_a_secret_that_is_missing_holds_a_pod_up(cluster: FakeKubernetes, admin: PlainClient) -> None:
    thing = samples.deployment()
    samples.container(thing)["env"] = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}]
    admin.apply(thing)
    waiting = the_pod(cluster)["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'secret "keys" not found'}
    admin.apply(samples.secret("keys", a="YQ=="))
    assert the_pod(cluster)["status"]["containerStatuses"][0]["ready"] is True


def test_logs(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment())
    name = the_pod(cluster)["metadata"]["name"]
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for minute in range(4):
        cluster.kubelet.write_log("default", name, f"line {minute}", at=noon + timedelta(minutes=minute))
    path = f"{PODS}/{name}/log"
    assert admin.text(path).splitlines() == [f"line {minute}" for minute in range(4)]
    assert admin.text(path, tailLines=1) == "line 3\n"
    assert admin.text(path, sinceTime="2026-01-01T12:02:00Z").splitlines() == ["line 2", "line 3"]
    assert admin.text(path, limitBytes=3) == "lin"
    assert admin.text(path, timestamps="true", tailLines=1) == "2026-01-01T12:03:00.000000000Z line 3\n"
    cluster.kubelet.restart("default", name)
    assert (admin.text(path), admin.text(path, previous="true", tailLines=1)) == ("", "line 3\n")
    assert the_pod(cluster)["status"]["containerStatuses"][0]["restartCount"] == 1


def test_a_log_that_is_followed_ends_with_the_pod(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment())
    name = the_pod(cluster)["metadata"]["name"]
    cluster.kubelet.write_log("default", name, "first")
    told = admin.lines(f"{PODS}/{name}/log", follow="true")
    assert next(told) == "first"
    cluster.kubelet.write_log("default", name, "second")
    assert next(told) == "second"
    admin.ask("DELETE", f"{PODS}/{name}")
    assert list(told) == []


def test_a_log_there_is_none_of(cluster: FakeKubernetes, admin: PlainClient) -> None:
    cluster.kubelet.default = image_pull_back_off("x")
    admin.apply(samples.deployment())
    name = the_pod(cluster)["metadata"]["name"]
    for query, said in (
        ({}, f'container "app" in pod "{name}" is waiting to start: trying and failing to pull image'),
        ({"container": "side"}, f"container side is not valid for pod {name}"),
        ({"sinceTime": "noon"}, "invalid log options"),
    ):
        if "sinceTime" in query:
            cluster.kubelet.set_all(NotReady())
        with pytest.raises(ApiException) as refused:
            admin.text(f"{PODS}/{name}/log", **query)
        assert (refused.value.status, status_of(refused.value)["reason"]) == (400, "BadRequest")
        assert said in status_of(refused.value)["message"]


def test_figures_of_pods_that_run(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment())
    pod = the_pod(cluster)
    cluster.kubelet.usage[pod["metadata"]["uid"]] = Usage("250m", "64Mi")
    found = admin.ask("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods", labelSelector="app=hello")
    (figures,) = found["items"]
    assert figures["metadata"]["name"] == pod["metadata"]["name"]
    assert figures["containers"] == [{"name": "app", "usage": {"cpu": "250m", "memory": "64Mi"}}]


class _Threads:
    """Runs pods as a loop's callbacks, as far as this test cares."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stopped: list[tuple[str, float]] = []
        self.may_stop = threading.Event()

    async def start(self, pod: dict[str, Any]) -> str:
        self.started.append(pod["metadata"]["name"])
        if pod["metadata"]["labels"]["app"] == "broken":
            raise RuntimeError("no such program")
        return "127.99.0.1"

    async def stop(self, pod: dict[str, Any], grace_s: float) -> None:
        await asyncio.to_thread(self.may_stop.wait, 60)
        self.stopped.append((pod["metadata"]["name"], grace_s))


def test_a_pod_may_really_run(cluster: FakeKubernetes, admin: PlainClient) -> None:
    cluster.kubelet.runtime = runtime = _Threads()
    cluster.kubelet.default = Runs()
    admin.apply(samples.deployment())
    pod = eventually_sync(lambda: [one for one in cluster.list("pods") if one["status"].get("podIP") == "127.99.0.1"])[
        0
    ]
    name = pod["metadata"]["name"]
    assert (pod["status"]["containerStatuses"][0]["ready"], runtime.started) == (True, [name])
    admin.ask("DELETE", "/apis/apps/v1/namespaces/default/deployments/hello")
    eventually_sync(lambda: "deletionTimestamp" in cluster.list("pods")[0]["metadata"])
    runtime.may_stop.set()
    assert eventually_sync(lambda: not cluster.list("pods"))
    assert runtime.stopped == [(name, 30.0)]
    admin.apply(samples.deployment("broken"))
    crashed = eventually_sync(lambda: [one for one in cluster.list("pods") if one["status"]["phase"] == "Running"])[0]
    ended = crashed["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["message"] == "no such program"
