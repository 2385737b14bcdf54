"""Drivers whose instances are processes of this machine: all that they have in common.

Each instance is a process in a session of its own with a directory of its own (`<instances>/<instance>`: HOME and
TMPDIR), its output in a file, and a record of who it is: by it a restarted deploy_svc finds the processes of its
predecessor. They are not its children then, so it learns that one ended, but not how.
"""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deploy_svc.ports import Exit, InstanceSpec, Observed, OutputLine, Started
from deploy_svc.process import proc, scratch, strays
from deploy_svc.process.children import Child, Children
from deploy_svc.process.output_file import OutputFiles
from deploy_svc.process.records import Record, Records
from deploy_svc.process.spawn import Plan, Spawner
from deploy_svc.process.strays import Kin
from deploy_svc.process.users import Users, end
from deploy_svc.process.working_copies import WorkingCopies
from mesh.cancellation import to_its_end
from mesh.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")
_MEMORY_POLL_S = 1.0
_SLOW_ROUNDS = 5  # strays and files cost more to look for, and are looked for so many times less
_STRAY_TRIES = 5
_FILE_BYTES = 128 << 20  # its output is a file too, and is cut long before this
_KILL_S = 10.0


@dataclass(frozen=True, slots=True)
class ProcessPlaces:
    """Directories: `instances` (sockets; short path), `records`, `logs`."""

    instances: Path
    records: Path
    logs: Path


class SupervisedDriver(ABC):
    """Runs instances as processes. `changed` is called (on the loop) when one has ended."""

    def __init__(
        self,
        places: ProcessPlaces,
        copies: WorkingCopies,
        users: Users,
        executor: Executor,
        changed: Callable[[], None] = lambda: None,
        *,
        scratch_bytes: int = 1 << 30,
    ) -> None:
        self.places = places
        self.copies = copies
        self.users = users
        self._executor = executor
        self._records = Records(places.records)
        self.spawner = Spawner(places.instances, places.logs, file_bytes=max(scratch_bytes, _FILE_BYTES))
        self._scratch_bytes = scratch_bytes
        self._children = Children(changed)
        self._files = OutputFiles()
        self._turns: dict[int, asyncio.Lock] = {}

    @abstractmethod
    async def plan(self, spec: InstanceSpec, user: int | None, home: Path) -> Plan:
        """What is to be executed, in `home`, as which everything but the process is there afterwards.

        Raises Unavailable and FailedPrecondition.
        """

    async def start(self, spec: InstanceSpec) -> Started:
        """Start the process; ready or not is for others to find out."""
        known = self._children.get(spec.uid)
        if known is not None:
            return Started(str(known.record.process), known.record.address)
        user = self.users.of_slot(spec.slot)
        plan = await self.plan(spec, user, self.places.instances / spec.uid)

        async def spawned() -> Record:
            return self._children.watch(await self.in_thread(self._spawn, spec, user, plan)).record

        async with self._turn_of(user):
            record = await to_its_end(spawned())  # it is short, and whoever stops the instance next must find it
        return Started(str(record.process), record.address)

    def _turn_of(self, user: int | None) -> asyncio.Lock:
        """Held while a process of the user is started, and while those left of it are ended: never both at once."""
        return asyncio.Lock() if user is None else self._turns.setdefault(user, asyncio.Lock())

    def _spawn(self, spec: InstanceSpec, user: int | None, plan: Plan) -> Record:
        self.spawner.check(user)
        record = self.spawner.spawn(spec, user, plan)
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
        await self.in_thread(self._remove, instance)
        self._children.forget(instance)

    def _remove(self, instance: str) -> None:
        scratch.remove(self.places.instances / instance)
        self.spawner.log_path(instance).unlink(missing_ok=True)
        self._records.delete(instance)

    def output(self, instance: str, position: int) -> AsyncIterator[Sequence[OutputLine]]:
        """The lines of its output file."""

        def ended() -> bool:
            child = self._children.get(instance)
            return child is None or child.exit is not None

        return self._files.follow(self.spawner.log_path(instance), position, ended)

    async def keep_artifacts(self, digests: frozenset[str]) -> None:
        """Delete all other working copies, but those of running instances."""
        await self.copies.sweep(digests | self.used_artifacts())

    def used_artifacts(self) -> frozenset[str]:
        """The artifacts of running instances."""
        return frozenset(c.record.artifact for c in self._children.all().values() if c.exit is None)

    async def forget(self, function: str) -> None:  # noqa: B027 -- most keep nothing
        """Instances keep nothing that outlives them."""

    async def vacate(self) -> None:  # noqa: B027 -- nothing to do is the right thing for most
        """Nothing is shared but working copies, which are kept for the next start."""

    async def run(self) -> None:
        """Kill what uses more memory or disk than its limit, and wake the readers of output; until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._files.run())
                tasks.create_task(self._watch_use())
        finally:
            self.spawner.close()

    async def adopt(self) -> None:
        """Take over the processes of a predecessor; end those that were started but not recorded."""
        for record in await self.in_thread(self._records.load):
            if self._children.get(record.instance) is None:
                self._children.adopt(record)
        known = set(self._children.all())
        for process, instance in await self.in_thread(self.spawner.find_started):
            if instance not in known:
                log.warning("workload_without_record", instance=instance, pid=process.pid)
                self._children.kill(process)

    async def _watch_use(self) -> None:
        rounds, left = 0, dict[str, list[int]]()
        while True:
            await asyncio.sleep(_MEMORY_POLL_S)
            await self.in_thread(self.spawner.prepare)
            living = [child for child in self._children.all().values() if child.exit is None]
            rounds += 1
            if rounds % _SLOW_ROUNDS == 0 and living:
                left = await self.in_thread(strays.of_living, [self._kin(child.record) for child in living])
                await self.in_thread(self._watch_scratch, living)
                await self.in_thread(self.watch_data)
            if living:
                await self.in_thread(self._watch_memory, living, left)

    def watch_data(self) -> None:  # noqa: B027 -- most keep nothing
        """Now and then, while instances run: look after what outlives them. Blocks."""

    def _watch_memory(self, living: Sequence[Child], left: Mapping[str, list[int]]) -> None:
        for child in living:
            limit, own = child.record.memory_bytes, left.get(child.record.instance, [])
            used = proc.memory_bytes(proc.family([child.record.process.pid, *own]), limit) if limit else 0
            if used > limit and child.exit is None:
                self._overrun(child, Exit(out_of_memory=True, detail=_too_much(used, limit)))
                end(own)

    def _watch_scratch(self, living: Sequence[Child]) -> None:
        limit = self._scratch_bytes
        for child in living:
            if scratch.used_bytes(self.places.instances / child.record.instance, limit) > limit:
                detail = f"Out of disk: its files in HOME and TMPDIR are more than {limit >> 20} MiB or too many."
                self._overrun(child, Exit(signal=signal.SIGKILL, detail=detail))

    def _overrun(self, child: Child, why: Exit) -> None:
        child.exit_hint = why
        self._children.kill(child.record.process)

    def _kin(self, record: Record) -> Kin:
        return Kin(record.instance, record.process, self.places.instances / record.instance, record.user)

    async def _end_strays(self, record: Record) -> None:
        """What left the group is found by its user and environment; with the user's last instance goes all of it."""
        async with self._turn_of(record.user):
            others = (c for c in self._children.all().values() if c.record.instance != record.instance)
            living = [self._kin(c.record) for c in others if c.exit is None and c.record.user == record.user]
            if record.user is not None and not living:
                await self.in_thread(self.users.end_all, record.user)
            else:
                await self.in_thread(_end_left_by, self._kin(record), living)

    async def in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        """The result of a call that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)


def _end_left_by(ended: Kin, living: Sequence[Kin]) -> None:
    for _ in range(_STRAY_TRIES):
        left = strays.left_by(ended, living)
        if not left:
            return
        end(left)


def _observed(child: Child) -> Observed:
    record = child.record
    return Observed(record.instance, str(record.process), record.address, child.exit)


def _too_much(used: int, limit: int) -> str:
    return f"Out of memory: it used {used >> 20} MiB, its limit is {limit >> 20} MiB."
