"""deploy_svc with a cluster: the fake one always, and whatever FNMESH_TEST_KUBECONFIG names beside it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy_svc.kubernetes.cluster import Cluster
from deploy_svc.kubernetes.credentials import Access, read_kubeconfig
from deploy_svc.kubernetes.kinds import BY_NAME, Kind
from deploy_svc.kubernetes.transport import Transport
from fnmesh.registry.v1 import function_pb2
from mesh.clock import SystemClock
from mesh.errors import FailedPrecondition
from tests.support.cluster_rights import rules
from tests.support.deploy_harness import DeployHarness, Revision, harness
from tests.support.kubernetes import FakeKubernetes
from tests.support.real_cluster import real_cluster as administered

REAL = os.environ.get("FNMESH_TEST_KUBECONFIG", "")
"""A cluster that tests may make namespaces in and delete them again."""
REAL_IMAGE = os.environ.get("FNMESH_TEST_KUBERNETES_IMAGE", "")
"""An image of a function that the cluster can pull; its entry file is handler.py."""
IMAGE = "registry.example.org/fnmesh/hello@sha256:" + "1" * 64
BAD_IMAGE = "registry.invalid/fnmesh/none@sha256:" + "0" * 64
UID = "fn-abcdefghijkl"


@dataclass
class TestCluster:
    """A cluster under test, with a namespace of the test's own. `fake` is None for a real one.

    `kubeconfig` is deploy_svc's, who may do on the fake cluster what docs/kubernetes.md says that it must, and no more.
    """

    __test__ = False

    kubeconfig: Path
    administrator: Path
    namespace: str
    image: str
    fake: FakeKubernetes | None

    @asynccontextmanager
    async def transport(self) -> AsyncIterator[Transport]:
        """Requests of the administrator, past deploy_svc."""
        source = read_kubeconfig(str(self.administrator))
        transport = Transport(Access(source, source.contexts[0], SystemClock()))
        try:
            yield transport
        finally:
            await transport.close()

    @asynccontextmanager
    async def api(self) -> AsyncIterator[Cluster]:
        """Calls of the administrator."""
        async with self.transport() as transport:
            yield Cluster(transport)

    async def objects(self, uid: str = UID) -> dict[str, list[str]]:
        """Names of the objects of a function by kind, as the cluster has them."""
        found: dict[str, list[str]] = {}
        async with self.api() as cluster:
            for kind in BY_NAME.values():
                try:
                    pages = [page async for page, _ in cluster.list(kind, f"function_id={uid}")]
                except FailedPrecondition:
                    continue  # SpinKube is not installed
                items = [one for page in pages for one in page]
                names = [one["metadata"]["name"] for one in items if one["metadata"]["namespace"] == self.namespace]
                if names:
                    found[kind.name] = names
        return found

    async def get(self, kind: Kind, name: str) -> dict[str, Any]:
        """An object."""
        async with self.api() as cluster:
            found = await cluster.find(kind, self.namespace, name)
        assert found is not None, f"there is no {kind.name} {name}"
        return found

    def settings(self, **fields: Any) -> function_pb2.ClusterSettings:
        """Cluster settings of a function in the test's namespace."""
        return function_pb2.ClusterSettings(namespace=self.namespace, **fields)


def app(image: str = IMAGE, **fields: Any) -> Revision:
    """A revision that is an image in a registry."""
    return Revision(image=image, target=function_pb2.TARGET_KUBERNETES, **fields)


@contextmanager
def fake_cluster(directory: Path, **options: Any) -> Iterator[TestCluster]:
    """The fake one, with a namespace `apps`."""
    with FakeKubernetes(namespaces=("apps",), **options) as fake:
        path = fake.kubeconfig(directory / "kubeconfig", token=fake.access.grant(rules()))
        yield TestCluster(path, fake.kubeconfig(directory / "administrator"), "apps", IMAGE, fake)


@contextmanager
def real_cluster(directory: Path) -> Iterator[TestCluster]:
    """The one of FNMESH_TEST_KUBECONFIG, with a namespace that goes with the test."""
    with administered(Path(REAL)) as cluster:
        path = cluster.kubeconfig(directory / "kubeconfig", "real")
        yield TestCluster(path, Path(REAL), cluster.account, REAL_IMAGE, None)


@asynccontextmanager
async def deploying(cluster: TestCluster, *, reaps: bool = False, **settings: str) -> AsyncIterator[DeployHarness]:
    """A harness whose deploy_svc knows the cluster; with `reaps` the test runs something on this machine too."""
    async with harness("unix:///nowhere/docker.sock", reaps=reaps) as mesh:
        mesh.settings |= {"FNMESH_DEPLOY_KUBECONFIG": str(cluster.kubeconfig), **settings}
        yield mesh
