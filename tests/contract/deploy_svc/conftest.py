"""deploy_svc with a cluster of the test's own: `cluster`, `fake` (the same, as the server that it is) and `client`.

`mesh` says with which settings; each module has its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.cluster_target import TestCluster, fake_cluster
from tests.support.deploy_harness import Client, DeployHarness
from tests.support.kubernetes import FakeKubernetes


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[TestCluster]:
    with fake_cluster(tmp_path) as one:
        yield one


@pytest.fixture
def fake(cluster: TestCluster) -> FakeKubernetes:
    assert cluster.fake is not None
    return cluster.fake


@pytest.fixture
async def client(mesh: DeployHarness) -> AsyncIterator[Client]:
    async with mesh.here(), mesh.client() as one:
        yield one
