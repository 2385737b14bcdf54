"""Helm, where `make helm` has put it, and what it makes of the chart."""

from __future__ import annotations

import subprocess
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
