"""Watches of the fake API server: events, bookmarks, and the ways in which they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import pytest
from kubernetes import client, watch
from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from tests.support.eventually import eventually_sync
from tests.support.kubernetes import FakeKubernetes, Fault, samples
from tests.support.kubernetes.plain_client import MERGE, PlainClient, status_of

SECRETS = "/api/v1/namespaces/default/secrets"


def events(admin: PlainClient, path: str = SECRETS, **query: Any) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in admin.lines(path, watch="true", **query))


def labelled(name: str, **labels: str) -> dict[str, Any]:
    thing = samples.secret(name)
    thing["metadata"]["labels"] = labels
    return thing


def test_what_happens_after_a_list_is_told_in_order(admin: PlainClient) -> None:
    admin.create(samples.secret("old"))
    version = admin.ask("GET", SECRETS)["metadata"]["resourceVersion"]
    admin.create(samples.secret("new"))
    admin.ask("PATCH", f"{SECRETS}/new", {"data": {"a": "YQ=="}}, content_type=MERGE)
    admin.ask("DELETE", f"{SECRETS}/new")
    told = events(admin, resourceVersion=version)
    seen = [next(told) for _ in range(3)]
    assert [one["type"] for one in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert {one["object"]["metadata"]["name"] for one in seen} == {"new"}
    assert (seen[0]["object"]["kind"], seen[0]["object"]["apiVersion"]) == ("Secret", "v1")
    versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in seen]
    assert versions == sorted(set(versions))
    admin.create(samples.secret("later"))
    assert next(told)["object"]["metadata"]["name"] == "later"
    told.close()  # type: ignore[attr-defined]


def test_a_watch_without_a_version_begins_with_what_is_there(admin: PlainClient) -> None:
    admin.create(samples.secret("old"))
    assert [one["type"] for one in events(admin, timeoutSeconds=1)] == ["ADDED"]


def test_a_selector_makes_coming_and_going_of_changing_labels(admin: PlainClient) -> None:
    version = admin.ask("GET", SECRETS)["metadata"]["resourceVersion"]
    admin.create(labelled("mine", app="x"))
    admin.create(labelled("other", app="y"))
    admin.ask("PATCH", f"{SECRETS}/mine", {"metadata": {"labels": {"app": "y"}}}, content_type=MERGE)
    admin.ask("PATCH", f"{SECRETS}/other", {"metadata": {"labels": {"app": "x"}}}, content_type=MERGE)
    told = events(admin, resourceVersion=version, labelSelector="app=x")
    assert [(one["type"], one["object"]["metadata"]["name"]) for one in islice(told, 3)] == [
        ("ADDED", "mine"), ("DELETED", "mine"), ("ADDED", "other"),
    ]  # fmt: skip


def test_bookmarks_carry_the_version_of_other_kinds_changes(cluster: FakeKubernetes, admin: PlainClient) -> None:
    version = admin.ask("GET", SECRETS)["metadata"]["resourceVersion"]
    admin.create({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "bob"}})
    cluster.watches.bookmark_every_s = 0.05
    told = events(admin, resourceVersion=version, allowWatchBookmarks="true")
    first = next(told)
    assert (first["type"], first["object"]["kind"]) == ("BOOKMARK", "Secret")
    assert int(first["object"]["metadata"]["resourceVersion"]) > int(version)
    told.close()  # type: ignore[attr-defined]


def test_history_that_is_forgotten_is_an_error_event(cluster: FakeKubernetes, admin: PlainClient) -> None:
    version = admin.ask("GET", SECRETS)["metadata"]["resourceVersion"]
    cluster.compact()
    (told,) = events(admin, resourceVersion=version)
    assert (told["type"], told["object"]["code"], told["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert told["object"]["message"].startswith(f"too old resource version: {version} (")
    fresh = admin.ask("GET", SECRETS)["metadata"]["resourceVersion"]
    admin.create(samples.secret())
    assert next(events(admin, resourceVersion=fresh))["type"] == "ADDED"


def test_the_clients_own_watch_raises_410(cluster: FakeKubernetes, admin: PlainClient) -> None:
    core = client.CoreV1Api(admin.api)
    found: Any = core.list_namespaced_secret("default")
    version = found.metadata.resource_version
    cluster.compact()
    with pytest.raises(ApiException) as gone:
        list(watch.Watch().stream(core.list_namespaced_secret, "default", resource_version=version, timeout_seconds=5))
    assert gone.value.status == 410


def test_410_may_be_the_answer_itself(cluster: FakeKubernetes, admin: PlainClient) -> None:
    cluster.faults.add(Fault(410, verb="watch", resource="secrets"))
    with pytest.raises(ApiException) as gone:
        next(events(admin, resourceVersion=1))
    assert status_of(gone.value)["reason"] == "Expired"


def test_open_watches_can_be_expired_and_dropped(cluster: FakeKubernetes, admin: PlainClient) -> None:
    told = events(admin, resourceVersion=cluster.storage.version)
    admin.create(samples.secret("one"))
    assert next(told)["type"] == "ADDED"
    cluster.watches.expire("secrets")
    assert [one["object"]["code"] for one in told] == [410]
    told = events(admin)
    assert next(told)["type"] == "ADDED"
    assert cluster.watches.count_of("secrets") == 1
    cluster.watches.drop()
    with pytest.raises(HTTPError):
        next(told)
    assert eventually_sync(lambda: cluster.watches.count == 0)


def test_a_client_that_leaves_ends_its_watch(cluster: FakeKubernetes, admin: PlainClient) -> None:
    admin.create(samples.secret("one"))
    with closing(admin.lines(SECRETS, watch="true")) as told:  # type: ignore[type-var]
        next(told)
        assert cluster.watches.count == 1
    assert eventually_sync(lambda: cluster.watches.count == 0)
    assert cluster.requests.count("watch", "secrets") == 1
