"""The users that builds run as where the mesh is root: each runs one build at a time, on the whole machine.

Whoever is about to run a build as a user ends all that the user runs, so that no two may have the same one; also not
two services on one machine, whose ranges are the same where nobody set them. A user is held by an abstract socket of
its name: the kernel gives that to one process only, and takes it back when the process is gone.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from mesh.errors import Unavailable

_SPAN = 9000


class BuildUsers:
    """Users from `base` on, by number. Where we are not root there are none: builds run as this process's user."""

    def __init__(self, base: int) -> None:
        self._base = base

    @property
    def of_tools(self) -> int | None:
        """The one that tools are tried out as; no build ever has it."""
        return self._base if os.geteuid() == 0 else None

    @contextmanager
    def lent(self, build_uid: str) -> Iterator[int | None]:
        """The user of a build, and of no other one meanwhile; a build gets the same again where that is free."""
        if os.geteuid() != 0:
            yield None
            return
        first = int(build_uid.replace("-", "")[-12:], 16)
        for step in range(_SPAN - 1):
            uid = self._base + 1 + (first + step) % (_SPAN - 1)
            with self.held(uid) as ours:
                if ours:
                    yield uid
                    return
        raise Unavailable(
            "BUILD_USERS_TAKEN", f"All users from {self._base} on run builds; try again when one has ended."
        )

    @contextmanager
    def held(self, uid: int) -> Iterator[bool]:
        """Whether that user is ours until the context is left; not where somebody else has it, or it is no build's."""
        if os.geteuid() != 0 or not self._base < uid < self._base + _SPAN:
            yield False
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as name:
            yield _bound(name, f"\0fnmesh-build-user-{uid}")


def _bound(to_be: socket.socket, address: str) -> bool:
    try:
        to_be.bind(address)
    except OSError:
        return False
    return True
