"""A fake Kubernetes cluster and PyPI's client for it.

Tests that ask for nothing but `admin` say what any API server does: with FNMESH_TEST_KUBECONFIG they are run with a
real one too, so that what the fake does is believed for a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster_target import REAL
from tests.support.kubernetes import FakeKubernetes
from tests.support.kubernetes.plain_client import PlainClient
from tests.support.real_cluster import real_cluster


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
    """Who may do everything there. On a real cluster, what is made in `default` goes with the test."""
    if request.param == "real":
        with real_cluster(Path(REAL)) as real, real.clearing(), PlainClient(Path(REAL)) as client:
            yield client
    else:
        cluster: FakeKubernetes = request.getfixturevalue("cluster")
        with PlainClient(cluster.kubeconfig(tmp_path / "kubeconfig")) as client:
            yield client
