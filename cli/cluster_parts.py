"""Whether functions can run on a cluster: which one the mesh would use, and where it pulls images from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.commands.doctor import Finding

_SERVICE_ACCOUNT = "KUBERNETES_SERVICE_HOST"


def look_at_cluster(environ: Mapping[str, str]) -> Iterator[Finding]:
    """A finding for the kubeconfig, as the mesh looks for it, and one for the repository where there is a cluster."""
    named = environ.get("FNMESH_DEPLOY_KUBECONFIG") or environ.get("KUBECONFIG", "")
    if not named and _SERVICE_ACCOUNT not in environ:
        yield Finding(
            "kubernetes", "no", "no cluster is named; functions run on this machine",
            "set FNMESH_DEPLOY_KUBECONFIG to a kubeconfig, and FNMESH_BUILD_CLUSTER_REPOSITORY to where it pulls"
            " images from",
        )  # fmt: skip
        return
    yield _kubeconfig(named) if named else Finding("kubernetes", "ok", "the cluster that this machine is a pod of")
    repository = environ.get("FNMESH_BUILD_CLUSTER_REPOSITORY", "")
    if repository:
        yield Finding("cluster images", "ok", repository)
    else:
        yield Finding(
            "cluster images", "no", "nothing can be built for the cluster; images that are somewhere already can run",
            "set FNMESH_BUILD_CLUSTER_REPOSITORY to a repository that the cluster pulls from, such as"
            " registry.example.org/fnmesh",
        )  # fmt: skip


def _kubeconfig(named: str) -> Finding:
    """Of several files, as KUBECONFIG may name them, the first that says which context is current."""
    import yaml

    for path in filter(None, named.split(os.pathsep)):
        try:
            found = yaml.safe_load(Path(path).expanduser().read_text())
            if current := found.get("current-context"):
                return Finding("kubernetes", "ok", f"{path}, context {current}")
        except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no kubeconfig"
            return Finding("kubernetes", "failed", f"{path} cannot be read: {why}", "look at FNMESH_DEPLOY_KUBECONFIG")
    return Finding(
        "kubernetes", "no", f"{named} has no current context; functions must name one (--context)",
        "kubectl config use-context NAME",
    )  # fmt: skip
