"""What a test can have the fake API server do wrong, who may do what there, and how clients find it."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from tests.support.kubernetes import FakeKubernetes, Fault, Rule, samples
from tests.support.kubernetes.plain_client import PlainClient, status_of
from tests.support.registry_stub import own_certificate

SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (409, "Conflict"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
    ],
)
def test_the_next_requests_that_match_are_refused(
    cluster: FakeKubernetes, admin: PlainClient, code: int, reason: str
) -> None:
    cluster.faults.add(Fault(code, times=2, verb="patch", resource="secrets", retry_after_s=7))
    admin.create(samples.secret("other"))
    for _ in range(2):
        with pytest.raises(ApiException) as refused:
            admin.apply(samples.secret())
        assert status_of(refused.value)["reason"] == reason
        assert (refused.value.headers or {}).get("retry-after") == ("7" if code == 429 else None)
    admin.apply(samples.secret())
    assert cluster.requests.count("patch", "secrets", code=code) == 2
    assert cluster.requests.writes() == 4
    assert cluster.requests.by_verb() == {("create", "secrets"): 1, ("patch", "secrets"): 3}


def test_what_admission_says_can_be_given(cluster: FakeKubernetes, admin: PlainClient) -> None:
    said = 'deployments.apps "hello" is forbidden: exceeded quota: small, requested: count/deployments.apps=1'
    cluster.faults.add(Fault(403, message=said, resource="deployments"))
    with pytest.raises(ApiException) as refused:
        admin.apply(samples.deployment())
    assert (status_of(refused.value)["reason"], status_of(refused.value)["message"]) == ("Forbidden", said)


def test_an_answer_can_be_lost_after_the_write(cluster: FakeKubernetes, admin: PlainClient) -> None:
    cluster.faults.add(Fault(0, after=True, matches=lambda asked: asked.name == "hello"))
    with pytest.raises(HTTPError):
        admin.apply(samples.secret())
    assert cluster.get("secrets", "hello")["metadata"]["managedFields"]
    cluster.faults.add(Fault(0, times=None))
    with pytest.raises(HTTPError):
        admin.apply(samples.secret("second"))
    cluster.faults.clear()
    assert [one["metadata"]["name"] for one in cluster.list("secrets")] == ["hello"]


def test_a_server_that_is_away_refuses_and_comes_back_with_all_it_had(
    cluster: FakeKubernetes, admin: PlainClient
) -> None:
    made = admin.apply(samples.secret())
    address = cluster.address
    cluster.stop()
    with pytest.raises(HTTPError):
        admin.ask("GET", SECRETS)
    cluster.start()
    assert cluster.address == address
    assert admin.apply(samples.secret()) == made


def test_latency_holds_answers_back(cluster: FakeKubernetes, admin: PlainClient) -> None:
    cluster.faults.latency_s = 30
    with pytest.raises(HTTPError):
        admin.api.rest_client.pool_manager.request(
            "GET", f"{cluster.address}/version", timeout=0.2, retries=False
        )  # fmt: skip
    cluster.faults.clear()
    assert admin.ask("GET", "/version")["major"] == "1"


def test_a_narrow_token_is_told_what_it_may_not(cluster: FakeKubernetes, tmp_path: Path) -> None:
    rules = [
        Rule(["get", "patch"], ["deployments"], namespace="default"), Rule(["get", "list"], ["pods", "pods/log"]),
        Rule(["create"], ["deployments"], namespace="default", groups=["apps"]),
    ]  # fmt: skip
    token = cluster.access.grant(rules, user="system:serviceaccount:default:narrow")
    with PlainClient(cluster.kubeconfig(tmp_path / "kubeconfig", token=token)) as narrow:
        narrow.apply(samples.deployment())
        assert narrow.ask("GET", "/api/v1/pods")["kind"] == "PodList"
        for method, path, said, details in (
            (
                "GET", "/apis/apps/v1/namespaces/default/deployments",
                'deployments.apps is forbidden: User "system:serviceaccount:default:narrow" cannot list resource '
                '"deployments" in API group "apps" in the namespace "default"',
                {"group": "apps", "kind": "deployments"},
            ),
            (
                "DELETE", f"{SECRETS}/hello",
                'secrets "hello" is forbidden: User "system:serviceaccount:default:narrow" cannot delete resource '
                '"secrets" in API group "" in the namespace "default"',
                {"name": "hello", "kind": "secrets"},
            ),
            (
                "GET", "/api/v1/namespaces/other",
                'namespaces "other" is forbidden: User "system:serviceaccount:default:narrow" cannot get resource '
                '"namespaces" in API group "" at the cluster scope',
                {"name": "other", "kind": "namespaces"},
            ),
        ):  # fmt: skip
            with pytest.raises(ApiException) as refused:
                narrow.ask(method, path)
            status = status_of(refused.value)
            assert (status["code"], status["reason"], status["message"]) == (403, "Forbidden", said)
            assert status["details"] == details


def test_applying_something_new_takes_the_right_to_create(cluster: FakeKubernetes, tmp_path: Path) -> None:
    token = cluster.access.grant([Rule(["patch"], ["secrets"])])
    with PlainClient(cluster.kubeconfig(tmp_path / "kubeconfig", token=token)) as narrow:
        with pytest.raises(ApiException) as refused:
            narrow.apply(samples.secret())
        assert 'cannot create resource "secrets"' in status_of(refused.value)["message"]


def test_a_token_that_has_expired_or_is_unknown_is_unauthorized(cluster: FakeKubernetes, tmp_path: Path) -> None:
    token = cluster.access.grant(None, expires_in_s=3600)
    token_file = tmp_path / "token"
    token_file.write_text(token)
    with PlainClient(cluster.kubeconfig(tmp_path / "kubeconfig", token_file=token_file)) as holder:
        holder.ask("GET", SECRETS)
        cluster.advance(3601)
        with pytest.raises(ApiException) as expired:
            holder.ask("GET", SECRETS)
        assert status_of(expired.value)["message"] == "Unauthorized"
    with PlainClient(cluster.kubeconfig(tmp_path / "no-token", token="")) as nobody:
        with pytest.raises(ApiException) as anonymous:
            nobody.ask("GET", SECRETS)
        assert 'User "system:anonymous" cannot list' in status_of(anonymous.value)["message"]


def test_several_clusters_are_several_contexts(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    with FakeKubernetes() as east, FakeKubernetes(certificate=own_certificate(tmp_path)) as west:
        east.kubeconfig(path, "east")
        west.kubeconfig(path, "west", namespace="kube-system")
        with PlainClient(path) as first, PlainClient(path, "west") as second:
            first.create(samples.secret("in-the-east"))
            second.create(samples.secret("in-the-west"))
        assert [one["metadata"]["name"] for one in east.list("secrets")] == ["in-the-east"]
        assert [one["metadata"]["name"] for one in west.list("secrets")] == ["in-the-west"]
        assert west.address.startswith("https://")
