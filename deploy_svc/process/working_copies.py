"""Unpacked artifacts: one tree of files for each, shared by its instances, which may read but not write it.

A tree is complete or not there: it is unpacked beside its place and renamed. Its directory's name is the digest,
which nobody can guess, and the directory above cannot be listed by workloads, so that functions of different
users do not find each other's code.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import IO

from deploy_svc.process.unpacking import remove_tree, unpack

_JUST_USED_S = 120.0  # a sweep leaves what was asked for so lately: its instance may not be a row yet
_LEFT_OVER_S = 3600.0


class WorkingCopies:
    """The trees below `root`. `blob` streams the tar of an artifact."""

    def __init__(self, root: Path, blob: Callable[[str], AsyncIterator[bytes]], executor: Executor) -> None:
        self._root = root
        self._blob = blob
        self._executor = executor
        self._locks: dict[str, asyncio.Lock] = {}
        self._used: dict[str, float] = {}

    def path(self, digest: str) -> Path:
        """Where the tree of an artifact is or will be."""
        return self._root / digest.removeprefix("sha256:").replace("/", "_")

    async def ensure(self, digest: str, reference: str) -> Path:
        """The tree, unpacked if it is not there.

        Raises FailedPrecondition (ARTIFACT_BROKEN) and what the blob store raises.
        """
        path = self.path(digest)
        self._used[path.name] = time.monotonic()
        async with self._locks.setdefault(path.name, asyncio.Lock()):
            if not path.is_dir():
                with tempfile.TemporaryFile() as archive:
                    async for chunk in self._blob(reference):
                        archive.write(chunk)
                    archive.seek(0)
                    await self._in_thread(_unpack, archive, path)
        return path

    async def sweep(self, keep: frozenset[str]) -> None:
        """Delete all trees but those of the digests to keep, and what broken-off unpacking left."""
        now = time.monotonic()
        self._used = {name: at for name, at in self._used.items() if now - at < _JUST_USED_S}
        kept = {self.path(digest).name for digest in keep} | set(self._used)
        self._locks = {name: lock for name, lock in self._locks.items() if name in kept}
        await self._in_thread(_sweep, self._root, kept)

    async def _in_thread(self, call: Callable[..., None], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)


def _unpack(archive: IO[bytes], path: Path) -> None:
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    try:
        unpack(archive, place)
        place.rename(path)
    finally:
        if place.exists():
            remove_tree(place)


def _sweep(root: Path, kept: set[str]) -> None:
    if not root.is_dir():
        return
    for entry in root.iterdir():
        unfinished = entry.name.startswith(".new-") and time.time() - entry.stat().st_mtime < _LEFT_OVER_S
        if entry.name in kept or unfinished:
            continue
        gone = entry.with_name(f".old-{entry.name.lstrip('.')}")
        if entry != gone and not gone.exists():
            entry.rename(gone)
        remove_tree(gone)
