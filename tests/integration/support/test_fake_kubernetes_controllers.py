"""What goes on by itself in the fake cluster: rollouts, endpoints, SpinApps, owners, namespaces."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.client import ApiException

from tests.support.eventually import eventually_sync
from tests.support.kubernetes import FakeKubernetes, NotReady, Starting, image_pull_back_off, samples
from tests.support.kubernetes.deployments import REVISION
from tests.support.kubernetes.plain_client import MERGE, PlainClient, status_of

PATH = "/apis/apps/v1/namespaces/default/deployments/hello"
OTHER_IMAGE = "registry.example.org/hello:2"


def deployment_of(cluster: FakeKubernetes, name: str = "hello") -> dict[str, Any]:
    cluster.settle()
    return cluster.get("deployments", name)


def condition(thing: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in thing["status"]["conditions"] if one["type"] == name)
    return found


def images(cluster: FakeKubernetes) -> list[str]:
    cluster.settle()
    return sorted(pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in cluster.list("pods"))


def test_a_deployment_gets_its_pods_and_says_so(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment(replicas=3))
    found = deployment_of(cluster)
    status = {key: value for key, value in found["status"].items() if key != "conditions"}
    assert status == {
        "observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
    }  # fmt: skip
    assert condition(found, "Available")["reason"] == "MinimumReplicasAvailable"
    assert condition(found, "Progressing")["reason"] == "NewReplicaSetAvailable"
    pods = cluster.list("pods", app="hello")
    assert len({pod["status"]["podIP"] for pod in pods}) == 3
    (replica_set,) = cluster.list("replicasets")
    assert {pod["metadata"]["labels"]["pod-template-hash"] for pod in pods} == {
        replica_set["metadata"]["labels"]["pod-template-hash"]
    }
    admin.ask("PATCH", PATH, {"spec": {"replicas": 1}}, content_type=MERGE)
    assert deployment_of(cluster)["status"]["replicas"] == 1


def test_a_rolling_update_keeps_within_its_bounds(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment(replicas=3))
    cluster.settle()
    cluster.kubelet.behave(NotReady(), image=OTHER_IMAGE)
    admin.apply(samples.deployment(replicas=3, image=OTHER_IMAGE))
    for done in range(3):
        assert images(cluster) == ["1"] * (3 - done) + ["2"] * (done + 1)
        found = deployment_of(cluster)["status"]
        assert (found["readyReplicas"], found["updatedReplicas"], found["unavailableReplicas"]) == (3, done + 1, 1)
        new = [pod for pod in cluster.list("pods") if pod["spec"]["containers"][0]["image"] == OTHER_IMAGE]
        (unready,) = [pod for pod in new if not pod["status"]["containerStatuses"][0]["ready"]]
        cluster.kubelet.set("default", unready["metadata"]["name"], cluster.kubelet.default)
    assert images(cluster) == ["2", "2", "2"]
    found = deployment_of(cluster)
    assert (found["status"]["observedGeneration"], found["metadata"]["annotations"][REVISION]) == (2, "2")


def test_a_bad_image_ends_in_the_deadline_with_the_old_ones_serving(
    cluster: FakeKubernetes, admin: PlainClient
) -> None:
    admin.apply(samples.deployment(replicas=2))
    cluster.settle()
    cluster.kubelet.behave(image_pull_back_off(OTHER_IMAGE), image=OTHER_IMAGE)
    admin.apply(samples.deployment(replicas=2, image=OTHER_IMAGE, progressDeadlineSeconds=60))
    assert condition(deployment_of(cluster), "Progressing")["status"] == "True"
    cluster.advance(61)
    found = deployment_of(cluster)
    progressing = condition(found, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert progressing["message"].endswith("has timed out progressing.")
    assert (found["status"]["readyReplicas"], images(cluster)) == (2, ["1", "1", "2"])
    admin.apply(samples.deployment(replicas=2))
    found = deployment_of(cluster)
    assert (condition(found, "Progressing")["reason"], images(cluster)) == ("NewReplicaSetAvailable", ["1", "1"])
    assert found["metadata"]["annotations"][REVISION] == "3"


def test_a_pod_counts_once_it_has_been_ready_for_long_enough(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment(minReadySeconds=300))
    status = deployment_of(cluster)["status"]
    assert (status["readyReplicas"], status.get("availableReplicas", 0)) == (1, 0)
    cluster.advance(300)
    assert deployment_of(cluster)["status"]["availableReplicas"] == 1
    admin.apply(samples.deployment(minReadySeconds=1, image=OTHER_IMAGE))
    assert eventually_sync(lambda: images(cluster) == ["2"])


def test_recreate_has_the_old_ones_gone_first(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment(replicas=2, strategy={"type": "Recreate"}))
    cluster.settle()
    cluster.kubelet.hold_terminations = True
    admin.apply(samples.deployment(replicas=2, strategy={"type": "Recreate"}, image=OTHER_IMAGE))
    assert images(cluster) == ["1", "1"]
    for pod in cluster.list("pods"):
        assert pod["metadata"]["deletionTimestamp"]
        cluster.kubelet.finish("default", pod["metadata"]["name"])
    assert images(cluster) == ["2", "2"]


def test_endpoints_follow_the_pods_of_a_service(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.service())
    admin.apply(samples.deployment(replicas=2))
    cluster.settle()
    (found,) = cluster.list("endpointslices")
    assert found["metadata"]["labels"].items() >= {
        ("app", "hello"), ("tier", "front"), ("kubernetes.io/service-name", "hello"),
    }  # fmt: skip
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    pods = {pod["metadata"]["uid"]: pod["status"]["podIP"] for pod in cluster.list("pods")}
    assert {one["targetRef"]["uid"]: one["addresses"][0] for one in found["endpoints"]} == pods
    ready = {"ready": True, "serving": True, "terminating": False}
    assert [one["conditions"] for one in found["endpoints"]] == [ready, ready]
    cluster.kubelet.hold_terminations = True
    cluster.kubelet.behave(NotReady())
    leaving = found["endpoints"][0]["targetRef"]["name"]
    admin.ask("DELETE", f"/api/v1/namespaces/default/pods/{leaving}")
    cluster.settle()
    (found,) = cluster.list("endpointslices")
    states = {one["targetRef"]["name"]: one["conditions"] for one in found["endpoints"]}
    assert len(states) == 3
    assert states[leaving] == {"ready": False, "serving": True, "terminating": True}
    assert {"ready": False, "serving": False, "terminating": False} in states.values()
    admin.ask("DELETE", "/api/v1/namespaces/default/services/hello")
    cluster.settle()
    assert cluster.list("endpointslices") == []


def test_a_spin_app_becomes_a_deployment_and_a_service(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.spin_app(podLabels={"function_id": "fn-1"}))
    deployment = deployment_of(cluster)
    assert deployment["spec"]["replicas"] == 2
    container = samples.container(deployment)
    assert (container["ports"][0]["containerPort"], container["command"]) == (80, ["/"])
    assert container["env"][0] == {"name": "SPIN_VARIABLE_GREETING", "value": "moin"}
    assert "app" not in deployment["metadata"]["labels"]
    assert len(cluster.list("pods", function_id="fn-1")) == 2
    (slice_,) = cluster.list("endpointslices")
    assert slice_["metadata"]["labels"]["core.spinkube.dev/app-name"] == "hello"
    assert [one["port"] for one in slice_["ports"]] == [80]
    app = cluster.get("spinapps", "hello")
    assert (app["status"]["readyReplicas"], app["status"]["activeScheduler"]) == (2, "containerd-shim-spin")
    admin.apply(samples.spin_app(replicas=1, variables=[]))
    cluster.settle()
    assert cluster.get("spinapps", "hello")["status"]["readyReplicas"] == 1
    admin.ask("DELETE", "/apis/core.spinkube.dev/v1alpha1/namespaces/default/spinapps/hello")
    cluster.settle()
    assert [cluster.list(kind) for kind in ("deployments", "services", "pods", "replicasets")] == [[], [], [], []]


def test_spinkube_may_be_taken_away(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.spin_app())
    cluster.settle()
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/spinapps.core.spinkube.dev"
    admin.ask("DELETE", path)
    cluster.settle()
    assert (cluster.list("pods"), cluster.list("deployments")) == ([], [])
    with pytest.raises(ApiException) as missing:
        admin.apply(samples.spin_app())
    assert missing.value.body == "404 page not found\n"


def test_an_autoscaled_spin_app_leaves_the_replicas_alone(cluster: FakeKubernetes, admin: PlainClient) -> None:
    app = samples.spin_app(enableAutoscaling=True)
    del app["spec"]["replicas"]
    admin.apply(app)
    assert deployment_of(cluster)["spec"]["replicas"] == 1
    cluster.scale("default", "hello", 3)
    assert deployment_of(cluster)["status"]["readyReplicas"] == 3


@pytest.mark.parametrize(
    ("spec", "field", "said"),
    [
        ({"replicas": 0}, "spec.replicas", "Invalid value: 0: replicas must be > 0"),
        ({"enableAutoscaling": True}, "spec.replicas", "replicas cannot be set when autoscaling is enabled"),
        ({"executor": "another"}, "spec.executor", 'Invalid value: "another": executor does not exist in namespace'),
    ],
)
@pytest.mark.usefixtures("cluster")  # a real one has no operator
def test_the_operators_webhook_refuses(admin: PlainClient, spec: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(ApiException) as refused:
        admin.apply(samples.spin_app(**spec))
    status = status_of(refused.value)
    assert (status["code"], status["details"]["causes"][0]["field"]) == (422, field)
    assert status["message"].startswith('admission webhook "vspinapp.kb.io" denied the request: SpinApp.core.spink')
    assert said in status["message"]


def test_what_the_api_refuses_a_controller_does_not_stop_it(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.spin_app("a" * 64))
    cluster.settle()
    assert any("must be no more than 63" in failure for failure in cluster.controllers.failures)
    admin.apply(samples.spin_app("second"))
    assert deployment_of(cluster, "second")["status"]["readyReplicas"] == 2


def test_a_namespace_may_lack_an_executor(cluster: FakeKubernetes, admin: PlainClient) -> None:
    cluster.api.spin.executors_in = {"kube-system"}
    with pytest.raises(ApiException) as refused:
        admin.apply(samples.spin_app())
    assert "executor does not exist in namespace" in status_of(refused.value)["message"]
    assert admin.apply(samples.spin_app(), "kube-system")["spec"]["enableAutoscaling"] is False


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_what_a_deployment_owns_goes_with_it_or_stays(cluster: FakeKubernetes, admin: PlainClient, policy: str) -> None:
    admin.apply(samples.deployment(replicas=2))
    admin.apply(samples.deployment("other"))
    cluster.settle()
    admin.ask("DELETE", PATH, {"propagationPolicy": policy})
    cluster.settle()
    assert [one["metadata"]["name"] for one in cluster.list("deployments")] == ["other"]
    left = 2 if policy == "Orphan" else 0
    assert len(cluster.list("pods", app="hello")) == left
    assert len(cluster.list("pods", app="other")) == 1


def test_a_foreground_deletion_waits_for_what_is_owned(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment())
    cluster.settle()
    cluster.kubelet.hold_terminations = True
    answer = admin.ask("DELETE", PATH, {"propagationPolicy": "Foreground"})
    assert answer["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert deployment_of(cluster)["metadata"]["deletionTimestamp"]
    (pod,) = cluster.list("pods")
    cluster.kubelet.finish("default", pod["metadata"]["name"])
    cluster.settle()
    assert cluster.list("deployments") == []


def test_a_service_account_that_is_missing_keeps_pods_from_being_made(
    cluster: FakeKubernetes, admin: PlainClient
) -> None:
    thing = samples.deployment()
    thing["spec"]["template"]["spec"]["serviceAccountName"] = "robot"
    admin.apply(thing)
    failure = condition(deployment_of(cluster), "ReplicaFailure")
    assert failure["reason"] == "FailedCreate"
    assert 'error looking up service account default/robot: serviceaccount "robot" not found' in failure["message"]
    admin.create({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "robot"}})
    assert deployment_of(cluster)["status"]["readyReplicas"] == 1


def test_a_namespace_takes_all_it_holds_along(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.create({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "team"}})
    eventually_sync(lambda: cluster.list("serviceaccounts", "team"))
    admin.apply(samples.deployment(), "team")
    cluster.settle()
    cluster.controllers.garbage.hold_namespaces = True
    admin.ask("DELETE", "/api/v1/namespaces/team")
    assert admin.ask("GET", "/api/v1/namespaces/team")["status"]["phase"] == "Terminating"
    with pytest.raises(ApiException) as refused:
        admin.apply(samples.secret(), "team")
    assert "because it is being terminated" in status_of(refused.value)["message"]
    assert status_of(refused.value)["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    cluster.controllers.namespaces_released()
    assert eventually_sync(lambda: not [one for one in cluster.list("namespaces") if one["metadata"]["name"] == "team"])
    assert cluster.list("pods", "team") == cluster.list("deployments", "team") == []


def test_pods_that_are_starting_do_not_count(cluster: FakeKubernetes, admin: PlainClient) -> None:
    cluster.kubelet.default = Starting()
    admin.apply(samples.deployment(replicas=2))
    found = deployment_of(cluster)
    assert (found["status"]["unavailableReplicas"], condition(found, "Available")["status"]) == (2, "False")
    assert condition(found, "Available")["reason"] == "MinimumReplicasUnavailable"
