"""The users that workloads run as: each function its own, where the mesh runs as root."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal

from deploy_svc.process import proc


class Users:
    """Gives the function of a slot a uid of the range `first` .. `first + count - 1`.

    The range is entered at a place that depends on the mesh, so that two meshes of a machine do not use the same
    users. Not as root there is only the mesh's own user (None).
    """

    def __init__(self, mesh_id: str, *, first: int, count: int, own_only: bool | None = None) -> None:
        self._first, self._count = first, count
        self._offset = int.from_bytes(hashlib.sha256(mesh_id.encode()).digest()[:4]) % count
        self._own_only = os.geteuid() != 0 if own_only is None else own_only

    def of_slot(self, slot: int) -> int | None:
        """The uid for the function with that slot; None to stay the mesh's own user."""
        return None if self._own_only else self._first + (self._offset + slot) % self._count

    def end_all(self, user: int) -> None:
        """Kill every process of a user of the range."""
        if not self._first <= user < self._first + self._count:
            return
        for pid in proc.owned_by(user):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
