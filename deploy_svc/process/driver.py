"""The driver of the process target.

Each instance is a process in a session of its own with a directory of its own (`<run>/i/<instance>`: its socket
`s`, HOME and TMPDIR), its output in a file, and a record of who it is: by it a restarted deploy_svc finds the
processes of its predecessor. They are not its children then, so it learns that one ended, but not how.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deploy_svc.domain import ArtifactKind, Target
from deploy_svc.ports import Exit, InstanceSpec, Observed, OutputLine, Started, TargetHealth
from deploy_svc.process import proc
from deploy_svc.process.children import Child, Children
from deploy_svc.process.output_file import OutputFiles
from deploy_svc.process.records import Record, Records
from deploy_svc.process.spawn import Spawner
from deploy_svc.process.toolchain import Toolchain, Toolchains
from deploy_svc.process.users import Users
from deploy_svc.process.working_copies import WorkingCopies
from mesh.errors import FailedPrecondition, MeshError
from mesh.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")
_MEMORY_POLL_S = 1.0
_KILL_S = 10.0


@dataclass(frozen=True, slots=True)
class ProcessPlaces:
    """Directories: `instances` (sockets; short path), `records`, `logs`."""

    instances: Path
    records: Path
    logs: Path


class ProcessDriver:
    """Runs instances as processes. `changed` is called (on the loop) when one has ended."""

    target = Target.PROCESS

    def __init__(
        self,
        places: ProcessPlaces,
        copies: WorkingCopies,
        toolchains: Toolchains,
        users: Users,
        executor: Executor,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._places = places
        self._copies = copies
        self._toolchains = toolchains
        self._users = users
        self._executor = executor
        self._records = Records(places.records)
        self._spawner = Spawner(places.instances, places.logs)
        self._children = Children(changed)
        self._files = OutputFiles()

    async def check(self) -> TargetHealth:
        """Whether Python functions can be started, as which users."""
        user = self._users.of_slot(0)
        try:
            python = await self._in_thread(self._toolchains.find_python, user)
            await self._in_thread(self._spawner.check, user)
        except MeshError as error:
            return TargetHealth(False, error.message)
        return TargetHealth(True, f"Plain processes of this machine ({python}); not a sandbox.")

    async def start(self, spec: InstanceSpec) -> Started:
        """Start the process; ready or not is for others to find out."""
        known = self._children.get(spec.uid)
        if known is not None:
            return Started(str(known.record.process), known.record.address)
        workload = spec.workload
        if workload.artifact.kind is not ArtifactKind.TREE:
            raise FailedPrecondition(
                "ARTIFACT_KIND", "This revision was not built for the process target: deploy the function again."
            )
        user = self._users.of_slot(spec.slot)
        toolchain = await self._in_thread(self._toolchains.get, workload.runtime, user)
        tree = await self._copies.ensure(workload.artifact.digest, workload.artifact.reference)
        loop = asyncio.get_running_loop()
        spawned = loop.run_in_executor(self._executor, self._spawn, spec, user, toolchain, tree)
        try:
            record = await asyncio.shield(spawned)
        except asyncio.CancelledError:
            await asyncio.wait({spawned})  # it is short, and whoever stops the instance next must find it
            if spawned.exception() is None:
                self._children.watch(spawned.result())
            raise
        self._children.watch(record)
        return Started(str(record.process), record.address)

    def _spawn(self, spec: InstanceSpec, user: int | None, toolchain: Toolchain, tree: Path) -> Record:
        self._spawner.check(user)
        record = self._spawner.spawn(spec, user, toolchain, tree)
        self._records.write(record)
        return record

    async def observe(self) -> Mapping[str, Observed]:
        """All instances that have a record, running or not."""
        return {uid: _observed(child) for uid, child in self._children.all().items()}

    async def stop(self, instance: str, grace_s: float) -> None:
        """SIGTERM to its process group, SIGKILL after the grace, and to what it left behind."""
        child = self._children.get(instance)
        if child is None:
            return
        await self._children.end(child, grace_s, _KILL_S)
        await self._end_strays(child.record)

    async def remove(self, instance: str) -> None:
        """Its directory, its output and its record."""
        await self._in_thread(self._remove, instance)
        self._children.forget(instance)

    def _remove(self, instance: str) -> None:
        shutil.rmtree(self._places.instances / instance, ignore_errors=True)
        self._spawner.log_path(instance).unlink(missing_ok=True)
        self._records.delete(instance)

    def output(self, instance: str, position: int) -> AsyncIterator[Sequence[OutputLine]]:
        """The lines of its output file."""

        def ended() -> bool:
            child = self._children.get(instance)
            return child is None or child.exit is not None

        return self._files.follow(self._spawner.log_path(instance), position, ended)

    async def keep_artifacts(self, digests: frozenset[str]) -> None:
        """Delete all other working copies, but those of running instances."""
        used = {c.record.artifact for c in self._children.all().values() if c.exit is None}
        await self._copies.sweep(digests | used)

    async def vacate(self) -> None:
        """Nothing is shared but working copies, which are kept for the next start."""

    async def run(self) -> None:
        """Kill what uses more memory than its limit, and wake the readers of output; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._files.run())
            tasks.create_task(self._watch_memory())

    async def adopt(self) -> None:
        """Take over the processes of a predecessor; end those that were started but not recorded."""
        for record in await self._in_thread(self._records.load):
            if self._children.get(record.instance) is None:
                self._children.adopt(record)
        known = set(self._children.all())
        for process, instance in await self._in_thread(self._spawner.find_started):
            if instance not in known:
                log.warning("workload_without_record", instance=instance, pid=process.pid)
                self._children.kill(process)

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(_MEMORY_POLL_S)
            for child in list(self._children.all().values()):
                limit = child.record.memory_bytes
                if child.exit is not None or not limit:
                    continue
                used = proc.memory_bytes(child.record.process.pid)
                if used > limit and child.exit is None:
                    child.exit_hint = Exit(out_of_memory=True, detail=_too_much(used, limit))
                    self._children.kill(child.record.process)

    async def _end_strays(self, record: Record) -> None:
        """Processes that left the group are found by their user, once no other instance runs as it."""
        if record.user is None:
            return
        others = (c for c in self._children.all().values() if c.record.instance != record.instance)
        if any(c.record.user == record.user and c.exit is None for c in others):
            return
        await self._in_thread(self._users.end_all, record.user)

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)


def _observed(child: Child) -> Observed:
    record = child.record
    return Observed(record.instance, str(record.process), record.address, child.exit)


def _too_much(used: int, limit: int) -> str:
    return f"Out of memory: it used {used >> 20} MiB, its limit is {limit >> 20} MiB."
