"""What the chart lets deploy_svc do on the cluster is what it does, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy_svc.kubernetes import kinds
from tests.support.chart_golden import GOLDEN
from tests.support.cluster_rights import rules
from tests.support.helm import objects

_KEPT = [pytest.param(path, id=path.stem) for path in GOLDEN]


def _allowed(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


@pytest.mark.parametrize("path", _KEPT)
def test_it_watches_what_it_has_to_know_of_and_writes_nothing_everywhere(path: Path) -> None:
    (everywhere,) = (_allowed(one) for one in objects(path.read_text()) if one["kind"] == "ClusterRole")
    watched = (*kinds.APPLIED_KINDS, kinds.POD, kinds.ENDPOINTS)

    expected = {(kind.group, kind.plural): {"list", "watch"} for kind in watched}
    assert everywhere == expected | {("metrics.k8s.io", "pods"): {"list"}, ("", "nodes"): {"list"}}


@pytest.mark.parametrize("path", _KEPT)
def test_it_writes_what_it_makes_in_the_namespaces_of_functions(path: Path) -> None:
    roles = [_allowed(one) for one in objects(path.read_text()) if one["kind"] == "Role"]
    own = {"get", "create", "patch", "delete", "deletecollection"}
    expected = {(kind.group, kind.plural): own for kind in kinds.APPLIED_KINDS}
    expected |= {("", "secrets"): own - {"get"}, ("apps", "deployments/scale"): {"patch"}}
    expected |= {("", "namespaces"): {"get"}, ("", "pods"): {"delete"}, ("", "pods/log"): {"get"}}

    assert roles and all(role == expected for role in roles)


@pytest.mark.parametrize("path", _KEPT)
def test_it_writes_neither_where_others_are_nor_where_the_mesh_is(path: Path) -> None:
    """Whoever may patch Secrets, or start pods, can read Secrets."""
    found = objects(path.read_text())
    own = {one["metadata"].get("namespace", "fnmesh") for one in found if one["kind"] == "Deployment"}
    written = {one["metadata"]["namespace"] for one in found if one["kind"] == "Role"}

    assert written and written.isdisjoint(own | {"default"})


@pytest.mark.parametrize("path", _KEPT)
def test_no_right_is_for_everything(path: Path) -> None:
    for one in objects(path.read_text()):
        for rule in one.get("rules", ()) if one["kind"] in ("Role", "ClusterRole") else ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


@pytest.mark.parametrize("path", _KEPT)
def test_they_are_those_that_the_page_of_the_target_asks_for(path: Path) -> None:
    asked: dict[tuple[str, str], set[str]] = {}
    for rule in rules():
        for resource in rule.resources:
            asked.setdefault(((rule.groups or [""])[0], resource), set()).update(rule.verbs)
    given: dict[tuple[str, str], set[str]] = {}
    for one in objects(path.read_text()):
        for what, verbs in _allowed(one).items() if one["kind"] in ("Role", "ClusterRole") else ():
            given.setdefault(what, set()).update(verbs)

    assert given == asked
