"""The host program as builds may run it: readable by their users."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from build_svc import sandbox
from runtimes.spin.host import Host, find_host


class Hosts:
    """Finds it anew each time, which is cheap: somebody may have installed one. `named` as `find_host` takes it."""

    def __init__(self, directory: Path, named: str, environ: Mapping[str, str]) -> None:
        self._directory = directory
        self._named = named
        self._environ = environ

    async def find(self) -> Host | None:
        """The host program; None where there is none."""
        return await asyncio.to_thread(self._find)

    def _find(self) -> Host | None:
        host = find_host(self._named, toolchain=self._directory, environ=self._environ)
        if host is None or host.kind == "spin" or sandbox.reachable(host.path):
            return host
        status = host.path.stat()
        name = hashlib.sha256(f"{host.path}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:16]
        copy = self._directory / f"{host.kind}-{name}"
        if not copy.is_file():
            draft = copy.with_name(f".{copy.name}-{os.getpid()}")
            shutil.copyfile(host.path, draft)
            draft.chmod(0o755)
            draft.replace(copy)
        return replace(host, path=copy)
