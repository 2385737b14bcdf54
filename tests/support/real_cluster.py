"""The cluster of FNMESH_TEST_KUBECONFIG, as tests that also know the fake one see it.

Its namespace `default` must be empty: tests make things there, and remove them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiException

from tests.support.cluster_rights import role as docs_role
from tests.support.eventually import eventually_sync
from tests.support.kubernetes.plain_client import NAMESPACED, PlainClient, path_of

Json = dict[str, Any]
_KINDS = {path_of({"kind": kind}).rpartition("/")[2]: kind for kind in NAMESPACED}
_THE_CLUSTERS_OWN = ("default", "kubernetes")  # a ServiceAccount and a Service
_RBAC = "rbac.authorization.k8s.io"
_GONE_S = 120  # pods take the time that they are given


class RealCluster:
    """Calls of the administrator whose kubeconfig it is."""

    def __init__(self, kubeconfig: Path, client: PlainClient) -> None:
        self._kubeconfig, self._client = kubeconfig, client
        self._undo = ExitStack()
        self.account = f"fnmesh-test-{secrets.token_hex(4)}"

    def get(self, plural: str, name: str, namespace: str = "default") -> Json:
        """An object, by its kind's plural name. Raises ApiException."""
        return self._client.ask("GET", f"{_path(plural, namespace)}/{name}")

    def list(self, plural: str, namespace: str = "default") -> list[Json]:
        """What somebody has made there. Nothing, where the kind is not installed."""
        found: list[Json] = []
        with _missing_is_well():
            found = self._client.ask("GET", _path(plural, namespace))["items"]
        return [one for one in found if one["metadata"]["name"] not in _THE_CLUSTERS_OWN]

    def namespace(self, name: str, *accounts: str) -> None:
        """Makes one, with those service accounts, that goes with the test."""
        self._client.create(_thing("v1", "Namespace", name))
        self._undo.callback(self._delete, f"/api/v1/namespaces/{name}")
        for account in accounts:
            self._client.create(_thing("v1", "ServiceAccount", account), name)

    def kubeconfig(self, path: Path, context: str) -> Path:
        """A file with one context of that name, for an account that may do what docs/kubernetes.md asks for."""
        self.namespace(self.account, self.account)
        role = _thing(f"{_RBAC}/v1", "ClusterRole", self.account, rules=docs_role())
        binding = _thing(
            f"{_RBAC}/v1", "ClusterRoleBinding", self.account,
            roleRef={"apiGroup": _RBAC, "kind": "ClusterRole", "name": self.account},
            subjects=[{"kind": "ServiceAccount", "name": self.account, "namespace": self.account}],
        )  # fmt: skip
        for plural, thing in (("clusterroles", role), ("clusterrolebindings", binding)):
            self._client.ask("POST", f"/apis/{_RBAC}/v1/{plural}", thing)
            self._undo.callback(self._delete, f"/apis/{_RBAC}/v1/{plural}/{self.account}")
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
        where = f"/api/v1/namespaces/{self.account}/serviceaccounts/{self.account}/token"
        token = self._client.ask("POST", where, asked)["status"]["token"]
        document = yaml.safe_load(self._kubeconfig.read_text())
        current = next(one["context"] for one in document["contexts"] if one["name"] == document["current-context"])
        document |= {
            "current-context": context,
            "contexts": [{"name": context, "context": {"cluster": current["cluster"], "user": self.account}}],
            "users": [{"name": self.account, "user": {"token": token}}],
        }
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return path

    @contextmanager
    def clearing(self) -> Iterator[None]:
        """What is made in `default` goes. Raises where somebody has something there: that is not ours to delete."""
        if found := [f"{plural} {one['metadata']['name']}" for plural in _KINDS for one in self.list(plural)]:
            raise RuntimeError(f"The namespace default of the cluster is not empty: {', '.join(found)}.")
        try:
            yield
        finally:
            for plural in reversed(_KINDS):  # pods after what makes them anew
                for one in self.list(plural):
                    self._delete(f"{_path(plural, 'default')}/{one['metadata']['name']}")
            eventually_sync(lambda: not any(self.list(plural) for plural in _KINDS), _GONE_S)

    def close(self) -> None:
        """Take back what `namespace` and `kubeconfig` have made."""
        self._undo.close()

    def _delete(self, path: str) -> None:
        with _missing_is_well():
            self._client.ask("DELETE", path, gracePeriodSeconds=0)


@contextmanager
def real_cluster(kubeconfig: Path) -> Iterator[RealCluster]:
    """The cluster of a kubeconfig's current context."""
    with PlainClient(kubeconfig) as client:
        cluster = RealCluster(kubeconfig, client)
        try:
            yield cluster
        finally:
            cluster.close()


@contextmanager
def _missing_is_well() -> Iterator[None]:
    try:
        yield
    except ApiException as error:
        if error.status != 404:
            raise


def _thing(version: str, kind: str, name: str, **more: Any) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


def _path(plural: str, namespace: str) -> str:
    return path_of({"kind": _KINDS[plural]}, namespace)
