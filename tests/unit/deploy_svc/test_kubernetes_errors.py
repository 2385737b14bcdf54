"""What a cluster's refusals are called, where its kubeconfig comes from, and lines of its logs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy_svc.kubernetes.credentials import PodAccount, find_source
from deploy_svc.kubernetes.errors import Asked, refusal, wait_s
from deploy_svc.kubernetes.kinds import DEPLOYMENT, SPIN_APP
from deploy_svc.kubernetes.pod_logs import parse
from deploy_svc.kubernetes.views import pod
from mesh.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    MeshError,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from mesh.loops import Backoff

ROOT = Path(__file__).parents[3]
ASKED = Asked("patch", DEPLOYMENT, "apps", "hello")


def answer(
    code: int, message: str = "no", causes: list[dict[str, str]] | None = None, asked: Asked = ASKED
) -> MeshError:
    status = {"kind": "Status", "message": message, "details": {"causes": causes or []}}
    return refusal(code, json.dumps(status).encode(), asked, "prod", {"Retry-After": "7"})


def test_kinds_of_refusals() -> None:
    kinds = {
        400: InvalidArgument, 401: FailedPrecondition, 403: FailedPrecondition, 404: NotFound, 405: FailedPrecondition,
        409: Unavailable, 410: Unavailable, 422: InvalidArgument, 429: Unavailable, 500: Unavailable, 503: Unavailable,
    }  # fmt: skip
    assert {code: type(answer(code)) for code in kinds} == kinds
    assert answer(429).retry_after_s == 7


def test_what_is_forbidden_is_named() -> None:
    told = answer(403, 'deployments.apps "hello" is forbidden: User "x" cannot patch resource')
    assert told.message.startswith("deploy_svc may not patch deployments.apps in namespace 'apps' on the cluster of ")
    assert isinstance(told, PermissionDenied)


@pytest.mark.parametrize("why", [
    "exceeded quota: small", 'violates PodSecurity "restricted:latest": runAsNonRoot != true',
    "unable to create new content in namespace apps because it is being terminated", "User x is in none of its groups",
])  # fmt: skip
def test_what_admission_refuses_is_no_missing_right(why: str) -> None:
    told = answer(403, f'pods "x" is forbidden: {why}')
    assert isinstance(told, FailedPrecondition) and told.message.endswith(why)


def test_who_is_asked_to_wait_waits() -> None:
    backoff = Backoff(first_s=1.0, limit_s=2.0)
    assert wait_s(backoff, 1, answer(429)) == 7 and wait_s(backoff, 1, None) <= 1
    assert wait_s(backoff, 1, Unavailable("BUSY", "It is busy.", retry_after_s=86400)) == 60


def test_conflicts_name_manager_and_fields() -> None:
    causes = [{"field": ".spec.replicas", "message": 'conflict with "kubectl-edit" using apps/v1'}]
    told = answer(409, 'Apply failed with 1 conflict: conflict with "kubectl-edit": .spec.replicas', causes)
    assert isinstance(told, Aborted) and told.reason == "FIELD_CONFLICT"
    assert told.message.startswith(
        "kubectl-edit has set .spec.replicas of the Deployment 'hello' in namespace 'apps', "
    )


def test_a_kind_that_is_not_served_is_spinkube_missing() -> None:
    asked = Asked("patch", SPIN_APP, "apps", "hello")
    told = refusal(404, b"404 page not found\n", asked, "prod")
    assert isinstance(told, FailedPrecondition) and told.reason == "SPINKUBE_NOT_INSTALLED"
    assert isinstance(answer(404, asked=asked), NotFound)
    assert refusal(502, b"\xff<html>", ASKED, "prod").code.name == "UNAVAILABLE"


def test_where_the_kubeconfig_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump({"current-context": "b", "contexts": [{"name": "a"}, {"name": "b"}]}))
    for setting, environ in ((str(path), {"KUBECONFIG": "/nowhere"}), ("", {"KUBECONFIG": str(path)})):
        source = find_source(setting, environ)
        assert source is not None and (source.contexts, source.current) == (("b", "a"), "b")
    path.write_text(yaml.safe_dump({"contexts": [{"name": "a"}, {"name": "b"}]}))
    source = find_source(str(path), {})
    assert source is not None and (source.contexts, source.current) == (("a", "b"), "")
    assert find_source("", {"HOME": str(tmp_path)}) is None
    assert isinstance(find_source("", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}), PodAccount)
    for text in ("", "[]", "contexts: []", "{", "contexts: [1]"):
        path.write_text(text)
        with pytest.raises(FailedPrecondition, match="kubeconfig cannot be used"):
            find_source(str(path), {})
    with pytest.raises(FailedPrecondition):
        find_source(str(tmp_path / "none"), {})


def test_nothing_large_is_imported_before_there_is_a_cluster_or_a_postgresql() -> None:
    large = ("kubernetes", "aiohttp", "yaml", "asyncpg")
    code = f"import sys, deploy_svc.app; print([n for n in {large} if n in sys.modules])"
    path = os.pathsep.join(str(ROOT / part) for part in ("", "protos", "client"))
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_lines_of_logs() -> None:
    line = parse(b"2030-01-01T00:00:00.000000001Z hello world")
    assert line is not None and line.text == b"hello world" and line.position == 1893456000 * 10**9 + 1
    short = parse(b"2030-01-01T00:00:01Z ")
    assert short is not None and short.text == b"" and short.position == 1893456001 * 10**9
    assert parse(b"no time at all") is None and parse(b"") is None


def test_a_pod_of_which_little_is_known() -> None:
    bare = pod({"metadata": {"name": "x", "namespace": "y", "creationTimestamp": "nonsense"}})
    assert (bare.address, bare.restarts, bare.running, bare.ended) == ("", 0, False, None)
    six = pod(
        {"metadata": {"name": "x"}, "status": {"podIP": "fd00::1"}, "spec": {"containers": [{"name": "function"}]}}
    )
    assert six.address == "[fd00::1]:8080"
