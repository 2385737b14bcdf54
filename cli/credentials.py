"""Keeping an API key for later commands."""

from __future__ import annotations

import os
from pathlib import Path


def save_key(secret: str) -> Path:
    """Writes the key to the credentials file, mode 0600, and says where that is."""
    from fnmesh.client.address import credentials_file

    path = credentials_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    partial.replace(path)
    return path
