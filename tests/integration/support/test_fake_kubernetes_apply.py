"""Server-side apply on the fake API server: who owns which field, conflicts, and what is dropped."""

from __future__ import annotations

import pytest
from kubernetes.client import ApiException

from tests.support.kubernetes import FakeKubernetes, samples
from tests.support.kubernetes.plain_client import APPLY, MERGE, PlainClient, status_of

PATH = "/apis/apps/v1/namespaces/default/deployments/hello"


def test_applying_the_same_again_changes_nothing(cluster: FakeKubernetes, admin: PlainClient) -> None:
    made = admin.apply(samples.deployment())
    cluster.settle()
    before = cluster.get("deployments", "hello")
    again = admin.apply(samples.deployment())
    assert again["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
    (entry,) = [one for one in again["metadata"]["managedFields"] if one["manager"] == "fnmesh"]
    assert (entry["operation"], entry["fieldsType"]) == ("Apply", "FieldsV1")
    containers = entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert containers['k:{"name":"app"}']["f:image"] == {}


def test_a_field_of_another_manager_is_a_conflict_that_names_both(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.apply(samples.deployment())
    admin.apply(samples.deployment(replicas=5), manager="someone", force="true")
    with pytest.raises(ApiException) as refused:
        admin.apply(samples.deployment())
    status = status_of(refused.value)
    assert (status["code"], status["reason"]) == (409, "Conflict")
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "someone": .spec.replicas'
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "someone"', "field": ".spec.replicas"}
    ]
    assert cluster.get("deployments", "hello")["spec"]["replicas"] == 5
    assert admin.apply(samples.deployment(), force="true")["spec"]["replicas"] == 1
    managed = cluster.get("deployments", "hello")["metadata"]["managedFields"]
    (other,) = [one["fieldsV1"] for one in managed if one["manager"] == "someone"]
    assert "f:replicas" not in other["f:spec"]


def test_several_conflicts_are_listed_by_manager(admin: PlainClient) -> None:
    admin.apply(samples.deployment())
    admin.ask("PATCH", f"{PATH}/scale", {"spec": {"replicas": 4}}, content_type=MERGE, fieldManager="scaler")
    other = samples.deployment(replicas=4, image="registry.example.org/hello:2")
    admin.apply(other, manager="other", force="true")
    with pytest.raises(ApiException) as refused:
        admin.apply(samples.deployment())
    status = status_of(refused.value)
    assert status["message"].startswith("Apply failed with 3 conflicts: conflicts with ")
    assert '- .spec.template.spec.containers[name="app"].image' in status["message"]
    assert {one["field"] for one in status["details"]["causes"]} == {
        ".spec.replicas", '.spec.template.spec.containers[name="app"].image',
    }  # fmt: skip
    assert any(
        '"scaler" with subresource "scale" using apps/v1' in one["message"] for one in status["details"]["causes"]
    )


def test_who_scales_what_nobody_owns_owns_nothing(cluster: FakeKubernetes, admin: PlainClient) -> None:
    without = samples.deployment()
    del without["spec"]["replicas"]
    admin.apply(without)
    cluster.scale("default", "hello", 4)
    managed = cluster.get("deployments", "hello")["metadata"]["managedFields"]
    assert not [one for one in managed if one.get("subresource") == "scale"]
    assert admin.apply(samples.deployment(replicas=2))["spec"]["replicas"] == 2
    cluster.scale("default", "hello", 4)
    with pytest.raises(ApiException) as refused:
        admin.apply(samples.deployment(replicas=2))
    assert 'conflict with "kube-controller-manager" with subresource "scale"' in status_of(refused.value)["message"]


def test_the_same_value_may_have_two_owners(admin: PlainClient) -> None:
    admin.apply(samples.deployment())
    admin.apply(samples.deployment(), manager="someone")
    without = samples.deployment()
    del without["spec"]["replicas"]
    assert admin.apply(without)["spec"]["replicas"] == 1
    assert admin.apply({**samples.deployment(replicas=2)}, manager="someone")["spec"]["replicas"] == 2


def test_what_a_manager_drops_goes_and_what_others_own_stays(admin: PlainClient) -> None:
    first = samples.deployment()
    first["metadata"]["labels"]["mine"] = "1"
    samples.container(first)["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    samples.container(first)["readinessProbe"] = {"httpGet": {"path": "/ready", "port": 8080}}
    first["spec"]["template"]["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    assert samples.container(admin.apply(first))["readinessProbe"]["periodSeconds"] == 10
    admin.ask(
        "PATCH", PATH, {"metadata": {"labels": {"theirs": "1"}, "annotations": {"note": "x"}}}, content_type=MERGE
    )
    sidecar = samples.deployment()
    sidecar["spec"]["template"]["spec"]["containers"] = [{"name": "sidecar", "image": "registry.example.org/side:1"}]
    del sidecar["spec"]["replicas"], sidecar["spec"]["strategy"]
    admin.apply(sidecar, manager="injector")
    second = samples.deployment()
    samples.container(second)["env"] = [{"name": "B", "value": "3"}]
    after = admin.apply(second)
    assert after["metadata"]["labels"] == {"app": "hello", "theirs": "1"}
    assert after["metadata"]["annotations"]["note"] == "x"
    app, side = after["spec"]["template"]["spec"]["containers"]
    assert (app["env"], side["name"]) == ([{"name": "B", "value": "3"}], "sidecar")
    assert "readinessProbe" not in app
    assert "volumes" not in after["spec"]["template"]["spec"]
    del sidecar["spec"]["template"]["spec"]["containers"]
    gone = admin.apply({**sidecar, "spec": {"selector": sidecar["spec"]["selector"]}}, manager="injector")
    assert [one["name"] for one in gone["spec"]["template"]["spec"]["containers"]] == ["app"]


def test_a_name_twice_cannot_be_applied(admin: PlainClient) -> None:
    thing = samples.deployment()
    samples.container(thing)["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    with pytest.raises(ApiException) as refused:
        admin.apply(thing)
    said = '.spec.template.spec.containers[name="app"].env: duplicate entries for key [name="A"]'
    assert (refused.value.status, status_of(refused.value)["message"].endswith(said)) == (500, True)
    assert samples.container(admin.create(thing))["env"] == samples.container(thing)["env"]


def test_an_update_takes_fields_over(admin: PlainClient) -> None:
    admin.apply(samples.secret(a="YQ==", b="Yg=="))
    path = "/api/v1/namespaces/default/secrets/hello"
    admin.ask("PATCH", path, {"data": {"a": "WA=="}}, content_type=MERGE, fieldManager="kubectl-edit")
    with pytest.raises(ApiException) as refused:
        admin.apply(samples.secret(a="YQ==", b="Yg=="))
    status = status_of(refused.value)
    assert status["details"]["causes"][0]["field"] == ".data.a"
    assert status["message"].startswith('Apply failed with 1 conflict: conflict with "kubectl-edit" using v1: .data.a')


def test_an_apply_must_say_who_it_is_of(admin: PlainClient) -> None:
    with pytest.raises(ApiException) as refused:
        admin.ask("PATCH", PATH, samples.deployment(), content_type=APPLY)
    status = status_of(refused.value)
    assert (status["code"], status["details"]["causes"][0]["field"]) == (422, "fieldManager")
    for broken, said in (
        ({**samples.deployment(), "metadata": {"name": "hello", "managedFields": [{}]}}, "managedFields must be nil"),
        (samples.deployment("another"), "does not match the name on the URL"),
    ):
        with pytest.raises(ApiException) as bad:
            admin.ask("PATCH", PATH, broken, content_type=APPLY, fieldManager="fnmesh")
        assert bad.value.status == 400
        assert said in status_of(bad.value)["message"]


def test_what_is_applied_with_the_uid_of_something_gone_is_a_conflict(
    cluster: FakeKubernetes, admin: PlainClient
) -> None:
    made = admin.apply(samples.secret())
    admin.ask("DELETE", "/api/v1/namespaces/default/secrets/hello")
    thing = samples.secret()
    thing["metadata"]["uid"] = made["metadata"]["uid"]
    with pytest.raises(ApiException) as refused:
        admin.apply(thing)
    assert refused.value.status == 409
    assert cluster.list("secrets") == []


def test_a_spin_app_is_applied_by_its_own_schema(admin: PlainClient) -> None:
    admin.apply(samples.spin_app())
    again = samples.spin_app(enableAutoscaling=True, variables=[{"name": "greeting", "value": "hi"}])
    del again["spec"]["replicas"]
    again["spec"]["checks"] = {"liveness": {"httpGet": {"path": "/"}, "periodSeconds": 5}}
    after = admin.apply(again)
    liveness = after["spec"].pop("checks")["liveness"]
    assert after["spec"] | {"checks": 0} == again["spec"] | {"checks": 0}
    assert (liveness["periodSeconds"], liveness["failureThreshold"]) == (5, 3)
    assert admin.apply(again)["metadata"]["generation"] == after["metadata"]["generation"]
    with pytest.raises(ApiException) as refused:
        admin.apply(samples.spin_app(replicas="two"))
    assert refused.value.status == 500
    assert ".spec.replicas: expected numeric (int or float), got string" in status_of(refused.value)["message"]
