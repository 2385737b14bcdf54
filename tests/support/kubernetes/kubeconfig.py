"""Kubeconfig files."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Login:
    """Who the context is of: a token, or a file that holds one and is read again and again."""

    token: str = ""
    token_file: Path | None = None

    def document(self) -> dict[str, Any]:
        if self.token_file is not None:
            return {"tokenFile": str(self.token_file)}
        return {"token": self.token} if self.token else {}


def add_context(
    path: Path, context: str, address: str, login: Login, *, namespace: str = "", authority: Path | None = None
) -> Path:
    """Writes a context of that name into the file at `path`, which is made or added to; the first is current.

    `authority` is the certificate to trust at `address`.
    """
    document: dict[str, Any] = (yaml.safe_load(path.read_text()) if path.exists() else None) or {
        "apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": [], "current-context": context,
    }  # fmt: skip
    cluster = {"server": address}
    if authority is not None:
        cluster["certificate-authority-data"] = base64.b64encode(authority.read_bytes()).decode()
    place = {"cluster": context, "user": context, **({"namespace": namespace} if namespace else {})}
    for section, key, value in (
        ("clusters", "cluster", cluster), ("users", "user", login.document()), ("contexts", "context", place),
    ):  # fmt: skip
        kept = [one for one in document[section] if one["name"] != context]
        document[section] = [*kept, {"name": context, key: value}]
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    path.chmod(0o600)
    return path
