"""What deploy_svc may do on a cluster, as docs/kubernetes.md asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support.kubernetes import Rule

_PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"


def role() -> list[dict[str, Any]]:
    """The rules of the page's ClusterRole."""
    blocks = _PAGE.read_text(encoding="utf-8").split("```")
    found: list[dict[str, Any]] = yaml.safe_load(
        next(one for one in blocks if "kind: ClusterRole" in one).removeprefix("yaml")
    )["rules"]
    return found


def rules() -> list[Rule]:
    """The same for the fake cluster."""
    return [Rule(one["verbs"], one["resources"], groups=one["apiGroups"]) for one in role()]
