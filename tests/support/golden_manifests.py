"""The manifests of tests/golden/manifests: what functions are on a cluster, byte for byte.

    python -m tests.support.golden_manifests

writes them anew, for a change that was meant: look at the difference before committing it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy_svc.domain import (
    Artifact,
    ArtifactKind,
    ClusterSettings,
    Function,
    Limits,
    Runtime,
    Target,
    Workload,
)
from deploy_svc.kubernetes.app_spec import Defaults, app_of, place_of
from deploy_svc.kubernetes.manifests import Manifest, Options, render, to_yaml
from deploy_svc.kubernetes.placement import SPOT_LABELS, SPOT_TOLERATIONS, parse_spot

DIRECTORY = Path(__file__).parent.parent / "golden" / "manifests"
OPTIONS = Options(parse_spot(SPOT_LABELS, SPOT_TOLERATIONS), 180)
MESH = "0123456789ab"
IMAGE = "registry.example.org/fnmesh/hello@sha256:" + "4" * 64
_EVERYTHING = ClusterSettings(
    namespace="shop",
    app_name="spin-happy-cloud-1234",
    service_account="shop-functions",
    use_spot=True,
    autoscaling=True,
    image_pull_secrets=("regcred", "mirror"),
)


def function(**fields: Any) -> Function:
    """A function that wants to be on a cluster."""
    base: dict[str, Any] = {
        "uid": "fn-abcdefghijkl", "name": "workspaces/ws-default/functions/fn-abcdefghijkl", "display_name": "hello",
        "version": 7, "revision": 4, "running": True, "min_instances": 1, "target": Target.KUBERNETES,
    }  # fmt: skip
    return Function(**base | fields)


def workload(**fields: Any) -> Workload:
    """What one of its revisions needs."""
    base: dict[str, Any] = {
        "function_uid": "fn-abcdefghijkl", "function_name": "hello", "revision": 4, "runtime": Runtime.PYTHON,
        "target": Target.KUBERNETES, "artifact": Artifact("sha256:1", ArtifactKind.IMAGE, IMAGE, 1, "handler.py"),
        "limits": Limits(256 << 20, 1000, 30_000, 10), "handler": "handler", "event_format": "v2", "env": {},
    }  # fmt: skip
    return Workload(**base | fields)


def objects(of: Function, needs: Workload, *, resting: bool = False) -> list[Manifest]:
    """What is applied of it."""
    place = place_of(of.cluster, Defaults("production", "default"))
    return render(app_of(of, needs, place, MESH, resting=resting), OPTIONS)


def all_of_them() -> dict[str, list[Manifest]]:
    """The objects of each file, by its name without the ending."""
    secret = {"env": {"GREETING": "hi", "TOKEN": "s3cr3t"}, "secret_names": frozenset({"TOKEN"})}
    large = Limits(1 << 30, 2500, 90_000, 50)
    scaled = function(min_instances=2, max_instances=8, cluster=_EVERYTHING)
    rests = function(min_instances=0)
    return {
        "container": objects(function(), workload()),
        "container-with-everything": objects(scaled, workload(limits=large, **secret)),
        "container-at-rest": objects(rests, workload(), resting=True),
        "node": objects(function(), workload(runtime=Runtime.NODE, artifact=_node())),
        "spin": objects(function(), workload(runtime=Runtime.SPIN)),
        "spin-with-everything": objects(scaled, workload(runtime=Runtime.SPIN, limits=large, **secret)),
        "spin-that-may-rest": objects(rests, workload(runtime=Runtime.SPIN)),
    }


def _node() -> Artifact:
    return Artifact("sha256:2", ArtifactKind.IMAGE, IMAGE, 1, "index.js")


def main() -> None:
    """Write all of them."""
    DIRECTORY.mkdir(exist_ok=True)
    for path in DIRECTORY.glob("*.yaml"):
        path.unlink()
    for name, manifests in all_of_them().items():
        (DIRECTORY / f"{name}.yaml").write_text(to_yaml(manifests))


if __name__ == "__main__":
    main()
