"""The users that workloads run as: each function its own, where the mesh runs as root."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys

from deploy_svc.process import proc

# SIGKILL to every process of a user at once, which no fork can be faster than. It is sent only by a process that has
# become that user and has no rights beyond: sent by root it would end the machine.
_END_ALL = """
import os, signal, sys
user = int(sys.argv[1])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
with open("/proc/self/status") as status:
    powers = [int(line.split()[1], 16) for line in status if line.startswith(("CapEff", "CapPrm"))]
if user >= 1000 and os.getresuid() == (user, user, user) and powers == [0, 0]:
    os.kill(-1, signal.SIGKILL)
"""
_END_ALL_TRIES = 5


class Users:
    """Gives the function of a slot a uid of the range `first` .. `first + count - 1`.

    The range is entered at a place that depends on the mesh, so that two meshes of a machine do not use the same
    users. With `other_half` it is entered half the range further on: for a target that must not be taken for another
    one of the same function. Not as root there is only the mesh's own user (None).
    """

    def __init__(
        self, mesh_id: str, *, first: int, count: int, own_only: bool | None = None, other_half: bool = False
    ) -> None:
        self._first, self._count = first, count
        self._offset = int.from_bytes(hashlib.sha256(mesh_id.encode()).digest()[:4]) % count
        self._offset += count // 2 if other_half else 0
        self._own_only = os.geteuid() != 0 if own_only is None else own_only

    def of_slot(self, slot: int) -> int | None:
        """The uid for the function with that slot; None to stay the mesh's own user."""
        return None if self._own_only else self._first + (self._offset + slot) % self._count

    def end_all(self, user: int) -> None:
        """Kill every process of a user of the range, those too that fork as fast as they are killed.

        All of them once in any case: a chain of processes, each of which ends as soon as it has forked the next one,
        is not to be seen by whoever looks at /proc.
        """
        if self._own_only or not self._first <= user < self._first + self._count:
            return
        for look in range(_END_ALL_TRIES):
            found = [pid for pid in proc.owned_by(user) if proc.identify(pid) is not None]
            if look and not found:
                return
            end(found)
            command = [sys.executable, "-I", "-S", "-c", _END_ALL, str(user)]
            subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10)


def end(pids: list[int]) -> None:
    """SIGKILL to processes."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
