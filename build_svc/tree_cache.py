"""Installed libraries on this machine's disk, by the digest of what was asked for. Ours: no build's user can write."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from build_svc import tree

_USED = ".used"


class TreeCache:
    """Directories of libraries below `root`, each under its key. Nothing in use is ever pruned."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def filling(self, key: str) -> AsyncIterator[Path | None]:
        """The tree under the key, or None: then the caller makes it and calls `keep`, and others wait for it."""
        async with self._locks[key]:
            path = self._path(key)
            if path.is_dir():
                (path.parent / _USED).touch()
                yield path
            else:
                yield None

    async def keep(self, key: str, made: Path) -> Path:
        """Take over a tree that was made under the build's user; returns where it is now."""
        return await asyncio.to_thread(self._keep, key, made)

    def _keep(self, key: str, made: Path) -> Path:
        tree.take_over(made)
        path = self._path(key)
        draft = self._root / f".{path.parent.name}-{os.getpid()}-{time.monotonic_ns()}"
        draft.mkdir(mode=0o755, parents=True)
        shutil.move(made, draft / path.name)
        (draft / _USED).touch()
        try:
            draft.rename(path.parent)
        except OSError:  # another process was faster
            shutil.rmtree(draft, ignore_errors=True)
        return path

    def prune(self, *, unused_s: float, now: float | None = None) -> int:
        """Remove trees that nobody used for so long; returns how many. Longer than any build takes, or it races."""
        now = time.time() if now is None else now
        count = 0
        for directory in self._root.glob("*") if self._root.is_dir() else ():
            try:
                used = (directory / _USED).stat().st_mtime
            except FileNotFoundError:
                used = directory.stat().st_mtime
            if used < now - unused_s:
                shutil.rmtree(directory, ignore_errors=True)
                count += 1
        return count

    def _path(self, key: str) -> Path:
        return self._root / key.removeprefix("sha256:") / "tree"
