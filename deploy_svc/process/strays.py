"""The processes of an instance that its process does not know any more: forked twice, in sessions of their own.

Nothing but their user, the environment that they were started with, and the time of that tells whose they are. A
function that sets out to hide a process from one of its instances can: it is that function's own, and ends with the
last of them at the latest, when everything of their user does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy_svc.process import proc
from deploy_svc.process.proc import ProcessId


@dataclass(frozen=True, slots=True)
class Kin:
    """An instance, as its processes can be told: its directory is in their environment, as HOME."""

    instance: str
    process: ProcessId
    home: Path
    user: int | None


def left_by(ended: Kin, living: Sequence[Kin]) -> list[int]:
    """What an ended instance left running; `living` are those of the same user that run.

    Without a user of its own only what still has its environment.
    """
    owner = os.geteuid() if ended.user is None else ended.user
    known = proc.family(kin.process.pid for kin in living)
    oldest = min((kin.process.started for kin in living), default=None)
    found = []
    for pid in proc.owned_by(owner):
        process = None if pid in known else proc.identify(pid)
        if process is None:
            continue
        environment = proc.environment(pid)
        own = _names(environment, ended) or ended.user is not None
        earlier = oldest is None or process.started < oldest
        spared = any(_names(environment, kin) for kin in living)
        if own and not spared and (_names(environment, ended) or earlier):
            found.append(pid)
    return found


def of_living(living: Sequence[Kin]) -> dict[str, list[int]]:
    """The strays of running instances. One that tells nothing counts for its user's first instance."""
    known = proc.family(kin.process.pid for kin in living)
    by_owner: dict[int, list[Kin]] = {}
    for kin in living:
        by_owner.setdefault(os.geteuid() if kin.user is None else kin.user, []).append(kin)
    found: dict[str, list[int]] = {}
    for pid, owner in proc.owners():
        if owner not in by_owner or pid in known or proc.identify(pid) is None:
            continue
        environment = proc.environment(pid)
        told = [one for one in by_owner[owner] if _names(environment, one)]
        for one in (told or [one for one in by_owner[owner] if one.user is not None])[:1]:
            found.setdefault(one.instance, []).append(pid)
    return found


def _names(environment: Iterable[bytes], kin: Kin) -> bool:
    return b"HOME=" + os.fsencode(kin.home) in environment
