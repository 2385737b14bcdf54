"""A fake Kubernetes cluster and PyPI's client for it.

Tests that ask for nothing but `admin` say what any API server does: with FNMESH_TEST_KUBECONFIG they are run with a
real one too, so that what the fake does is believed for a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client import ApiException

from tests.support.cluster_target import REAL
from tests.support.eventually import eventually_sync
from tests.support.kubernetes import FakeKubernetes
from tests.support.kubernetes.plain_client import NAMESPACED, PlainClient, path_of

_THE_CLUSTERS_OWN = ("default", "kubernetes")  # a ServiceAccount and a Service


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "admin" in metafunc.fixturenames:
        real = ["real"] if REAL and "cluster" not in metafunc.fixturenames else []
        metafunc.parametrize("admin", ["fake", *real], indirect=True)


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    """One with SpinKube and a metrics server."""
    with FakeKubernetes(spinkube=True, metrics=True) as fake:
        yield fake


@pytest.fixture
def admin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PlainClient]:
    """Who may do everything there. On a real cluster, whatever is made in `default` goes with the test."""
    if request.param == "real":
        with PlainClient(Path(REAL)) as client:
            _empty(client)
            yield client
            _empty(client)
    else:
        cluster: FakeKubernetes = request.getfixturevalue("cluster")
        with PlainClient(cluster.kubeconfig(tmp_path / "kubeconfig")) as client:
            yield client


def _empty(client: PlainClient) -> None:
    for kind in reversed(NAMESPACED):  # pods after what makes them anew
        for name in _there(client, kind):
            client.ask("DELETE", f"{path_of({'kind': kind})}/{name}", gracePeriodSeconds=0)
    eventually_sync(lambda: not any(_there(client, kind) for kind in NAMESPACED), 60)


def _there(client: PlainClient, kind: str) -> list[str]:
    """Names of what somebody has made there."""
    try:
        found = client.ask("GET", path_of({"kind": kind}))["items"]
    except ApiException:
        return []  # a cluster without SpinKube
    return [name for one in found if (name := one["metadata"]["name"]) not in _THE_CLUSTERS_OWN]
