"""Where readings come from: /proc for processes, the daemon for containers."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Protocol

import docker
import docker.utils

from deploy_svc.containers.container_spec import container_name
from deploy_svc.containers.daemon import Daemon
from deploy_svc.domain import Instance, Target
from deploy_svc.process import proc
from deploy_svc.process.proc import ProcessId
from deploy_svc.usage.domain import Capacity, Reading
from mesh.errors import FailedPrecondition, NotFound

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _SESSION, _TIMES, _STARTED = 1, 3, slice(11, 15), 19  # of stat, counted after the command's closing bracket
_ONE_SHOT_API = "1.41"  # older daemons take a second or two for each answer


class Meter(Protocol):
    """Reads what the instances of one target use."""

    target: Target

    async def capacity(self) -> Capacity:
        """What the machine has that they run on. Raises Unavailable."""
        ...

    async def read(self, instances: Sequence[Instance]) -> Mapping[str, Reading]:
        """Readings by instance; one that has just ended has none. Raises Unavailable."""
        ...


class ProcessMeter:
    """Instances that are processes: with all that is in their session, or comes of them."""

    def __init__(self, executor: Executor, target: Target = Target.PROCESS) -> None:
        self._executor = executor
        self.target = target

    async def capacity(self) -> Capacity:
        """This machine's."""
        return Capacity(os.cpu_count() or 1, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))

    async def read(self, instances: Sequence[Instance]) -> Mapping[str, Reading]:
        """One look at all processes of the machine."""
        roots = {one.uid: process for one in instances if (process := ProcessId.parse(one.handle)) is not None}
        if not roots:
            return {}
        return await asyncio.get_running_loop().run_in_executor(self._executor, _read_processes, roots)


def _read_processes(roots: Mapping[str, ProcessId]) -> dict[str, Reading]:
    stats = dict(_stats())
    kin: dict[int, list[int]] = defaultdict(list)
    for pid, fields in stats.items():
        for relative in {int(fields[_PARENT]), int(fields[_SESSION])} - {pid}:
            kin[relative].append(pid)
    found = {}
    for instance, root in roots.items():
        fields = stats.get(root.pid, [])
        if fields and int(fields[_STARTED]) == root.started:
            members = _reached(root.pid, kin)
            ticks = sum(int(one) for pid in members for one in stats[pid][_TIMES])
            found[instance] = Reading(ticks / _TICKS, proc.memory_bytes(members, 0))
    return found


def _reached(root: int, kin: Mapping[int, Sequence[int]]) -> set[int]:
    reached, left = set[int](), [root]
    while left:
        one = left.pop()
        if one not in reached:
            reached.add(one)
            left += kin.get(one, ())
    return reached


def _stats() -> Iterable[tuple[int, list[bytes]]]:
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (fields := proc.stat_fields(int(entry.name))) is not None:
            yield int(entry.name), fields


class DockerMeter:
    """Instances that are containers. `daemon` is its own, for its few threads bound how many are asked at once."""

    target = Target.DOCKER

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._capacity: Capacity | None = None

    async def capacity(self) -> Capacity:
        """The daemon's machine's."""
        if self._capacity is None:
            found = await self._daemon.call(lambda api: api.info())
            self._capacity = Capacity(float(found.get("NCPU") or 1), int(found.get("MemTotal") or 0))
        return self._capacity

    async def read(self, instances: Sequence[Instance]) -> Mapping[str, Reading]:
        """A call for each."""
        found = await asyncio.gather(*(self._one(instance.uid) for instance in instances), return_exceptions=True)
        readings = {}
        for instance, reading in zip(instances, found, strict=True):
            if isinstance(reading, BaseException):
                raise reading
            if reading is not None:
                readings[instance.uid] = reading
        return readings

    async def _one(self, instance: str) -> Reading | None:
        def ask(api: docker.APIClient) -> Mapping[str, Any]:
            name = container_name(instance)
            if docker.utils.version_gte(api.api_version, _ONE_SHOT_API):
                answer: Mapping[str, Any] = api.stats(name, stream=False, one_shot=True)
            else:
                answer = api.stats(name, stream=False)
            return answer

        try:
            return reading_of(await self._daemon.call(ask))
        except (NotFound, FailedPrecondition):
            return None


def reading_of(stats: Mapping[str, Any]) -> Reading | None:
    """What the daemon's statistics of a container say; None where it does not run.

    Memory is without files that are only cached, as `docker stats` has it.
    """
    memory = stats.get("memory_stats") or {}
    cpu_ns = ((stats.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
    if not cpu_ns or "usage" not in memory:
        return None
    detail = memory.get("stats") or {}
    cached = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    used = int(memory["usage"])
    return Reading(int(cpu_ns) / 1e9, used - int(cached) if cached < used else used)
