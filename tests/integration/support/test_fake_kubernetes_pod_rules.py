"""What the fake API server refuses in a pod's spec, and what it does not let into a restricted namespace."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.client import ApiException

from tests.support.eventually import eventually_sync
from tests.support.kubernetes import FakeKubernetes, samples
from tests.support.kubernetes.plain_client import PlainClient, status_of

POD = "spec.template.spec"
CONTAINER = f"{POD}.containers[0]"
PREFERRED = "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]"


def preferring(weight: int, **expression: Any) -> dict[str, Any]:
    term = {"weight": weight, "preference": {"matchExpressions": [{"key": "spot", "operator": "In", **expression}]}}
    return {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}}


@pytest.mark.parametrize(
    ("pod", "container", "field", "said"),
    [
        ({}, {"ports": [{"containerPort": 70000}]}, f"{CONTAINER}.ports[0].containerPort", "between 1 and 65535"),
        ({}, {"env": [{"name": "A=B", "value": "x"}]}, f"{CONTAINER}.env[0].name", "other than '='"),
        ({}, {"volumeMounts": [{"name": "x", "mountPath": "/x"}]}, f"{CONTAINER}.volumeMounts[0].name", "Not found"),
        ({}, {"imagePullPolicy": "Maybe"}, f"{CONTAINER}.imagePullPolicy", 'Unsupported value: "Maybe": supported'),
        ({}, {"readinessProbe": {"periodSeconds": 5}}, f"{CONTAINER}.readinessProbe", "must specify a handler type"),
        (
            {"terminationGracePeriodSeconds": 4}, {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
            f"{CONTAINER}.lifecycle.preStop.sleep", "less than terminationGracePeriodSeconds (4)",
        ),
        (
            {}, {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}, f"{CONTAINER}.resources.requests",
            'Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, {}, f"{POD}.tolerations[0].operator",
         "value must be empty when `operator` is 'Exists'"),
        ({"tolerations": [{"key": "a", "effect": "Never"}]}, {}, f"{POD}.tolerations[0].effect", "Unsupported value"),
        (preferring(0, values=["true"]), {}, f"{POD}.{PREFERRED}.weight", "must be in the range 1-100"),
        (preferring(1), {}, f"{POD}.{PREFERRED}.preference.matchExpressions[0].values", "must be specified when"),
        (
            {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "x", "whenUnsatisfiable": "ScheduleAnyway"}]},
            {}, f"{POD}.topologySpreadConstraints[0].maxSkew", "must be greater than zero",
        ),
        ({"restartPolicy": "Never"}, {}, f"{POD}.restartPolicy", 'supported values: "Always"'),
    ],
)  # fmt: skip
def test_a_pod_that_is_invalid_is_refused(
    admin: PlainClient, pod: dict[str, Any], container: dict[str, Any], field: str, said: str
) -> None:
    thing = samples.deployment()
    thing["spec"]["template"]["spec"] |= pod
    samples.container(thing).update(container)
    with pytest.raises(ApiException) as refused:
        admin.apply(thing)
    status = status_of(refused.value)
    assert (status["code"], status["reason"]) == (422, "Invalid")
    causes = {cause["field"]: cause["message"] for cause in status["details"]["causes"]}
    assert said in causes[field]


def test_a_restricted_namespace_lets_only_restricted_pods_in(cluster: FakeKubernetes, admin: PlainClient) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": labels}})
    eventually_sync(lambda: cluster.list("serviceaccounts", "strict"))
    thing = samples.deployment()
    admin.apply(thing, "strict")
    cluster.settle()
    assert cluster.list("pods", "strict") == []
    failure = cluster.get("deployments", "hello", "strict")["status"]["conditions"][-1]
    assert (failure["type"], failure["reason"]) == ("ReplicaFailure", "FailedCreate")
    assert (
        'is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
        in failure["message"]
    )
    for missing in ("unrestricted capabilities", "runAsNonRoot != true", "seccompProfile"):
        assert missing in failure["message"]
    thing["spec"]["template"]["spec"]["securityContext"] = {
        "runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    samples.container(thing)["securityContext"] = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    admin.apply(thing, "strict")
    cluster.settle()
    assert len(cluster.list("pods", "strict")) == 1
