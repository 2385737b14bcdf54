"""The directories in which builds run, and what killed builders have left in them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from build_svc import sandbox
from build_svc.users import BuildUsers


class Scratch:
    """A directory for each build below `root`, each a user's of its own where there are `users`."""

    def __init__(self, root: Path, users: BuildUsers) -> None:
        self._root = root
        self._users = users

    @asynccontextmanager
    async def of(self, build_uid: str) -> AsyncIterator[tuple[Path, int | None]]:
        """A directory of the build's own: ours to change, and its user's to pass through, nobody else's."""
        path = self._root / build_uid
        await self._end(path)
        with self._users.lent(build_uid) as uid:
            if uid is not None:
                await sandbox.end_all_of(uid)  # what a builder that was killed has left behind
            await asyncio.to_thread(_remove, path)
            path.mkdir(parents=True, mode=0o700)
            if uid is not None:
                os.chown(path, -1, uid)
                path.chmod(0o750)
            try:
                yield path, uid
            finally:
                await asyncio.shield(asyncio.to_thread(_remove, path))

    async def remove_leftovers(self, open_builds: Callable[[], Awaitable[Collection[str]]]) -> int:
        """Removes the directories of builds that have ended, and ends their processes. Returns how many there were.

        A builder that was killed leaves them; where the build is claimed again they are removed then, but not where
        it was cancelled meanwhile. The directories are listed before the builds: one that began in between is in
        neither list.
        """
        found = [path.name for path in self._root.iterdir()]
        still_open = await open_builds() if found else ()
        left = [name for name in found if name not in still_open]
        for name in left:
            await self._end(self._root / name)
            await asyncio.to_thread(_remove, self._root / name)
        return len(left)

    async def _end(self, path: Path) -> None:
        """End what a build runs whose directory is left, unless its user has another one by now."""
        uid = _user_of(path)
        with self._users.held(uid) as ours:
            if ours:
                await sandbox.end_all_of(uid)


def _user_of(path: Path) -> int:
    """Whose a build's directory is; 0 where there is none, for then it is nobody's."""
    try:
        return path.stat().st_gid
    except FileNotFoundError:
        return 0


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
