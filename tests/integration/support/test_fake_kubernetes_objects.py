"""The fake API server as PyPI's client sees it: objects are made, read, changed and deleted as on a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from kubernetes import client
from kubernetes.client import ApiException
from kubernetes.dynamic import DynamicClient

from tests.support.kubernetes import FakeKubernetes, samples
from tests.support.kubernetes.plain_client import MERGE, PlainClient, status_of
from tests.support.kubernetes.schemas import KUBERNETES_VERSION

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SECRETS = "/api/v1/namespaces/default/secrets"


def test_what_is_created_gets_what_the_server_gives(admin: PlainClient) -> None:
    made = admin.create(samples.deployment())
    metadata = made["metadata"]
    assert metadata["uid"] and metadata["creationTimestamp"].endswith("Z") and int(metadata["resourceVersion"]) > 0
    assert (metadata["generation"], metadata["namespace"]) == (1, "default")
    assert made["spec"]["progressDeadlineSeconds"] == 600
    assert samples.container(made)["imagePullPolicy"] == "IfNotPresent"
    kubernetes_validate.validate(made, KUBERNETES_VERSION, strict=True)


def test_the_typed_and_the_dynamic_client_understand_it(
    cluster: FakeKubernetes, admin: PlainClient, tmp_path: Path
) -> None:
    apps = client.AppsV1Api(admin.api)
    wanted: Any = samples.deployment(replicas=2)
    apps.create_namespaced_deployment("default", wanted)
    cluster.settle()
    found: Any = apps.read_namespaced_deployment("hello", "default")
    assert (found.spec.replicas, found.status.ready_replicas) == (2, 2)
    assert client.VersionApi(admin.api).get_code().git_version == f"v{KUBERNETES_VERSION}"
    dynamic = DynamicClient(admin.api, cache_file=str(tmp_path / "discovery"))
    spin_apps = dynamic.resources.get(api_version="core.spinkube.dev/v1alpha1", kind="SpinApp")
    spin_apps.create(samples.spin_app("spinny"), namespace="default")
    assert [one.metadata.name for one in spin_apps.get(namespace="default").items] == ["spinny"]


def test_errors_are_worded_as_the_real_server_words_them(admin: PlainClient) -> None:
    with pytest.raises(ApiException) as absent:
        admin.ask("GET", f"{DEPLOYMENTS}/gone")
    assert status_of(absent.value) == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
        "message": 'deployments.apps "gone" not found',
        "details": {"name": "gone", "group": "apps", "kind": "deployments"},
    }  # fmt: skip
    admin.create(samples.secret())
    with pytest.raises(ApiException) as twice:
        admin.create(samples.secret())
    said = status_of(twice.value)
    assert (said["code"], said["reason"], said["message"]) == (409, "AlreadyExists", 'secrets "hello" already exists')


def test_a_namespace_that_is_missing(admin: PlainClient) -> None:
    with pytest.raises(ApiException) as refused:
        admin.create(samples.deployment(), "nowhere")
    assert status_of(refused.value)["message"] == 'namespaces "nowhere" not found'
    assert status_of(refused.value)["details"] == {"name": "nowhere", "kind": "namespaces"}
    path = DEPLOYMENTS.replace("default", "nowhere")
    assert admin.ask("GET", path)["items"] == []
    for method in ("DELETE", "PATCH"):
        with pytest.raises(ApiException) as absent:
            admin.ask(
                method, f"{path}/hello", {"spec": {"replicas": 1}} if method == "PATCH" else None, content_type=MERGE
            )
        assert status_of(absent.value)["message"] == 'deployments.apps "hello" not found'


def test_a_kind_that_is_not_installed(tmp_path: Path) -> None:
    with FakeKubernetes() as bare, PlainClient(bare.kubeconfig(tmp_path / "kubeconfig")) as admin:
        for path in (
            "/apis/core.spinkube.dev/v1alpha1/namespaces/default/spinapps",
            "/apis/metrics.k8s.io/v1beta1/pods",
        ):
            with pytest.raises(ApiException) as missing:
                admin.ask("GET", path)
            assert (missing.value.status, missing.value.body) == (404, "404 page not found\n")
            assert (missing.value.headers or {})["content-type"].startswith("text/plain")
        bare.install_spinkube()
        assert admin.create(samples.spin_app())["kind"] == "SpinApp"


@pytest.mark.parametrize(
    ("thing", "field", "said"),
    [
        (samples.deployment(replicas=-1), "spec.replicas", "Invalid value: -1: must be greater than or equal to 0"),
        (samples.deployment("Bad_Name"), "metadata.name", 'Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain'),
        (samples.service("1.st"), "metadata.name", 'Invalid value: "1.st": must not contain dots'),
        (
            samples.deployment(selector={"matchLabels": {"app": "other"}}), "spec.template.metadata.labels",
            'Invalid value: {"app":"hello"}: `selector` does not match template `labels`',
        ),
        (
            samples.autoscaler(least=3, most=2), "spec.maxReplicas",
            "Invalid value: 2: must be greater than or equal to `minReplicas`",
        ),
        (samples.secret(**{"no good": "YQ=="}), "data[no good]", 'Invalid value: "no good": a valid config key must'),
        (
            samples.budget(minAvailable=1, maxUnavailable=1), "spec",
            "minAvailable and maxUnavailable cannot be both set",
        ),
        (samples.deployment(template={"spec": {}}), "spec.template.spec.containers", "Required value"),
        (samples.deployment(image=""), "spec.template.spec.containers[0].image", "Required value"),
        (samples.deployment("a" * 254), "metadata.name", "must be no more than 253 characters"),
    ],
)  # fmt: skip
def test_what_is_invalid_is_refused(admin: PlainClient, thing: dict[str, Any], field: str, said: str) -> None:
    for write in (admin.create, admin.apply):
        with pytest.raises(ApiException) as refused:
            write(thing)
        status = status_of(refused.value)
        assert (status["code"], status["reason"]) == (422, "Invalid")
        cause = next(one for one in status["details"]["causes"] if one["field"] == field)
        assert said in cause["message"]
        assert f"{field}: {cause['message']}" in status["message"]


def test_what_cannot_be_read_is_a_bad_request(admin: PlainClient) -> None:
    for write, thing, said in (
        (admin.create, samples.deployment(replicas="three"), "cannot be handled as a Deployment: "),  # type: ignore[arg-type]
        (admin.create, samples.secret(key="no base64!"), "illegal base64 data at input byte 2"),
        (admin.apply, {**samples.secret(), "apiVersion": "v2"}, "invalid object type: /v2, Kind=Secret"),
    ):
        with pytest.raises(ApiException) as refused:
            write(thing)
        assert status_of(refused.value)["code"] == 400
        assert said in status_of(refused.value)["message"]


def test_an_unknown_field_is_dropped_with_a_warning_unless_it_is_forbidden(admin: PlainClient) -> None:
    thing = samples.deployment(replcias=3)
    assert "replcias" not in admin.create(thing, dryRun="All")["spec"]
    with pytest.raises(ApiException) as refused:
        admin.create(thing, fieldValidation="Strict")
    assert 'strict decoding error: unknown field "spec.replcias"' in status_of(refused.value)["message"]
    with pytest.raises(ApiException) as undeclared:
        admin.apply(thing)
    assert status_of(undeclared.value)["code"] == 500
    assert ".spec.replcias: field not declared in schema" in status_of(undeclared.value)["message"]


def test_a_selector_cannot_be_changed(admin: PlainClient) -> None:
    made = admin.create(samples.deployment())
    del made["metadata"]["resourceVersion"]  # the controllers may have been at it
    made["spec"]["selector"]["matchLabels"] = {"app": "other"}
    made["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(ApiException) as refused:
        admin.ask("PUT", f"{DEPLOYMENTS}/hello", made)
    status = status_of(refused.value)
    assert (status["code"], status["details"]["causes"][0]["field"]) == (422, "spec.selector")
    assert status["message"].startswith('Deployment.apps "hello" is invalid: spec.selector: Invalid value: ')
    assert status["message"].endswith("field is immutable")


def test_generation_counts_changes_of_what_is_asked_for_only(admin: PlainClient) -> None:
    admin.create(samples.secret())
    made = admin.create(samples.deployment(paused=True))
    path = f"{DEPLOYMENTS}/hello"
    labelled = admin.ask("PATCH", path, {"metadata": {"labels": {"more": "1"}}}, content_type=MERGE)
    assert labelled["metadata"]["generation"] == 1
    assert labelled["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert labelled["metadata"]["labels"] == {"app": "hello", "more": "1"}
    scaled = admin.ask(
        "PATCH", path, {"spec": {"replicas": 2}, "metadata": {"labels": {"more": None}}}, content_type=MERGE
    )
    assert (scaled["metadata"]["generation"], scaled["metadata"]["labels"]) == (2, {"app": "hello"})
    again = admin.ask("PATCH", path, {"spec": {"replicas": 2}}, content_type=MERGE)
    assert again["metadata"]["generation"] == 2
    ignored = admin.ask("PATCH", path, {"status": {"replicas": 77}}, content_type=MERGE)
    assert ignored.get("status", {}).get("replicas") != 77


def test_an_update_from_an_old_version_is_a_conflict(admin: PlainClient) -> None:
    old = admin.create(samples.secret(a="YQ=="))
    admin.ask("PUT", f"{SECRETS}/hello", {**old, "data": {"a": "Yg=="}})
    with pytest.raises(ApiException) as refused:
        admin.ask("PUT", f"{SECRETS}/hello", {**old, "data": {"a": "Yw=="}})
    said = status_of(refused.value)
    assert (said["code"], said["reason"]) == (409, "Conflict")
    assert said["message"] == (
        'Operation cannot be fulfilled on secrets "hello": the object has been modified; please apply your changes to '
        "the latest version and try again"
    )
    unconditional = {**old, "metadata": {"name": "hello"}, "data": {"a": "Yw=="}}
    assert admin.ask("PUT", f"{SECRETS}/hello", unconditional)["data"] == {"a": "Yw=="}


def test_the_other_patches(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.create(samples.deployment())
    path = f"{DEPLOYMENTS}/hello"
    container = {"name": "app", "env": [{"name": "A", "value": "1"}]}
    body = {"spec": {"template": {"spec": {"containers": [container]}}}}
    patched = admin.ask("PATCH", path, body, content_type="application/strategic-merge-patch+json")
    assert samples.container(patched)["image"] == "registry.example.org/hello:1"
    assert samples.container(patched)["env"] == [{"name": "A", "value": "1"}]
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 3},
        {"op": "add", "path": "/metadata/labels/a~1b", "value": "c"},
        {"op": "remove", "path": "/spec/template/spec/containers/0/env"},
    ]
    patched = admin.ask("PATCH", path, operations, content_type="application/json-patch+json")
    assert (patched["spec"]["replicas"], patched["metadata"]["labels"]["a/b"]) == (3, "c")
    assert "env" not in samples.container(patched)
    with pytest.raises(ApiException) as refused:
        admin.ask("PATCH", path, operations[:1], content_type="application/json-patch+json")
    assert refused.value.status == 422
    scaled = admin.ask("PATCH", f"{path}/scale", {"spec": {"replicas": 4}}, content_type=MERGE)
    assert (scaled["kind"], scaled["spec"]["replicas"]) == ("Scale", 4)
    assert cluster.get("deployments", "hello")["spec"]["replicas"] == 4


def test_a_dry_run_changes_nothing(cluster: FakeKubernetes, admin: PlainClient) -> None:
    before = cluster.storage.version
    assert admin.create(samples.secret(), dryRun="All")["metadata"]["uid"]
    assert admin.apply(samples.secret(), dryRun="All")["metadata"]["uid"]
    assert (cluster.storage.version, cluster.requests.writes()) == (before, 0)


def test_lists_are_chosen_from_and_come_in_pages(admin: PlainClient) -> None:
    for index in range(5):
        thing = samples.secret(f"s{index}")
        thing["metadata"]["labels"] = {"even": str(index % 2 == 0).lower(), **({"third": ""} if index == 3 else {})}
        admin.create(thing)

    def names(**query: Any) -> list[str]:
        return [one["metadata"]["name"] for one in admin.ask("GET", SECRETS, **query)["items"]]

    assert names(labelSelector="even=true") == ["s0", "s2", "s4"]
    assert names(labelSelector="even!=true") == ["s1", "s3"]
    assert names(labelSelector="even in (true, maybe),third notin (x)") == ["s0", "s2", "s4"]
    assert names(labelSelector="third") == ["s3"]
    assert names(labelSelector="!third,even=false") == ["s1"]
    assert names(fieldSelector="metadata.name=s2") == ["s2"]
    first = admin.ask("GET", SECRETS, limit=2)
    assert (first["kind"], first["metadata"]["remainingItemCount"]) == ("SecretList", 3)
    assert "kind" not in first["items"][0]
    second = admin.ask("GET", SECRETS, **{"limit": 2, "continue": first["metadata"]["continue"]})
    third = admin.ask("GET", SECRETS, **{"limit": 2, "continue": second["metadata"]["continue"]})
    assert [one["metadata"]["name"] for one in second["items"] + third["items"]] == ["s2", "s3", "s4"]
    assert "continue" not in third["metadata"]
    for query in ({"labelSelector": "a in b"}, {"fieldSelector": "spec.colour=red"}):
        with pytest.raises(ApiException) as refused:
            names(**query)
        assert refused.value.status == 400


def test_a_page_of_a_list_that_is_forgotten_is_gone(cluster: FakeKubernetes, admin: PlainClient) -> None:
    for index in range(3):
        admin.create(samples.secret(f"s{index}"))
    token = admin.ask("GET", SECRETS, limit=1)["metadata"]["continue"]
    cluster.compact()
    with pytest.raises(ApiException) as gone:
        admin.ask("GET", SECRETS, **{"limit": 1, "continue": token})
    assert (status_of(gone.value)["code"], status_of(gone.value)["reason"]) == (410, "Expired")


def test_deleting(cluster: FakeKubernetes, admin: PlainClient) -> None:
    made = admin.create(samples.secret())
    with pytest.raises(ApiException) as refused:
        admin.ask("DELETE", f"{SECRETS}/hello", {"preconditions": {"uid": "another"}})
    assert "Precondition failed: UID in precondition: another" in status_of(refused.value)["message"]
    answer = admin.ask("DELETE", f"{SECRETS}/hello")
    assert (answer["kind"], answer["status"], answer["details"]["uid"]) == (
        "Status",
        "Success",
        made["metadata"]["uid"],
    )
    held = samples.secret("held")
    held["metadata"]["finalizers"] = ["example.org/wait"]
    admin.create(held)
    assert admin.ask("DELETE", f"{SECRETS}/held")["metadata"]["deletionTimestamp"]
    assert admin.ask("GET", f"{SECRETS}/held")["metadata"]["deletionGracePeriodSeconds"] == 0
    admin.ask("PATCH", f"{SECRETS}/held", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert cluster.list("secrets") == []


def test_deleting_by_label_leaves_the_rest(cluster: FakeKubernetes, admin: PlainClient) -> None:
    for name in ("one", "two", "three"):
        thing = samples.secret(name)
        thing["metadata"]["labels"] = {"mine": str(name != "three").lower()}
        admin.create(thing)
    admin.ask("DELETE", SECRETS, labelSelector="mine=true")
    assert [one["metadata"]["name"] for one in cluster.list("secrets")] == ["three"]
    assert cluster.requests.count("deletecollection", "secrets") == 1


def test_quantities_come_back_in_one_form(admin: PlainClient) -> None:
    thing = samples.deployment()
    samples.container(thing)["resources"] = {
        "limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 0.25, "memory": "64Mi"},
    }  # fmt: skip
    assert samples.container(admin.create(thing))["resources"] == {
        "limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "250m", "memory": "64Mi"},
    }  # fmt: skip
    samples.container(thing)["resources"]["limits"]["cpu"] = "much"
    with pytest.raises(ApiException) as refused:
        admin.create(thing)
    assert "quantities must match the regular expression" in status_of(refused.value)["message"]
