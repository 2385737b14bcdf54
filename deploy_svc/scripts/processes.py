"""Scripts as processes: a session, a directory and (as root) a user of its own for each.

Unlike instances they are not adopted after a restart: a script belongs to a call, and the call is gone. A record says
whose processes are left, and they end before anything else begins.
"""

from __future__ import annotations

import asyncio
import marshal
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deploy_svc.domain import Limits
from deploy_svc.ports import Exit
from deploy_svc.process import proc, scratch, strays
from deploy_svc.process.children import Child, Children, signal_group
from deploy_svc.process.proc import ProcessId
from deploy_svc.process.records import Record, Records
from deploy_svc.process.spawn import resource_limits
from deploy_svc.process.strays import Kin
from deploy_svc.process.toolchain import Toolchains, check_enterable
from deploy_svc.process.users import Users, end
from deploy_svc.scripts.pipes import Pipes
from deploy_svc.scripts.ports import ScriptLine, ScriptSpec
from mesh.cancellation import to_its_end
from mesh.errors import Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")
_LAUNCHER = Path(__file__).parent.parent / "launcher.py"
_LOADER_VARIABLES = ("LD_LIBRARY_PATH",)  # for the launcher: the mesh's interpreter may need it
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_GRACE_S, _KILL_S = 0.3, 10.0
_WATCH_S = 0.5
_STRAY_TRIES = 5
_CONCURRENCY = 10
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ScriptPlaces:
    """Directories: `homes` (of scripts) and `records`; and how much a script may write in the former."""

    homes: Path
    records: Path
    scratch_bytes: int


class _Running:
    def __init__(self, child: Child, pipes: Pipes) -> None:
        self._child = child
        self._pipes = pipes
        self.handle = str(child.record.process)

    def output(self) -> AsyncIterator[Sequence[ScriptLine]]:
        return self._pipes.lines()

    @property
    def exit(self) -> Exit:
        return self._child.exit or Exit()


class ProcessScripts:
    """The target `process`. `user_count` is how many users there are; functions count them from the other end."""

    def __init__(
        self, places: ScriptPlaces, toolchains: Toolchains, users: Users, user_count: int, executor: Executor
    ) -> None:
        self._places = places
        self._toolchains = toolchains
        self._users = users
        self._slots = range(user_count - max(1, user_count // 4), user_count)
        self._executor = executor
        self._records = Records(places.records)
        self._children = Children(lambda: None)

    @asynccontextmanager
    async def running(self, spec: ScriptSpec) -> AsyncIterator[_Running]:
        user = self._free_user()
        find = self._toolchains.find_python if spec.language == "python" else self._toolchains.find_node
        interpreter = await self._in_thread(find, user)
        pipes = Pipes()
        try:
            child = await self._start(spec, user, interpreter, pipes)
        finally:
            pipes.close_writers()
        ended = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(child, ended))
                try:
                    async with pipes.reading(ended):
                        yield _Running(child, pipes)
                finally:
                    watching.cancel()
        finally:
            pipes.close()
            await asyncio.shield(self._end(child))

    async def sweep(self) -> None:
        for record in await self._in_thread(self._records.load):
            log.warning("script_left_behind", run=record.instance)
            if record.boot == proc.boot_id():
                signal_group(record.process, signal.SIGKILL)
                await self._in_thread(self._end_strays, record)
            await self._in_thread(self._remove, record.instance)
        await self._in_thread(self._sweep_unrecorded)

    def _sweep_unrecorded(self) -> None:
        """What was started in the moment before it was written down."""
        root = f"{self._places.homes}/"
        for pid, words in proc.commands():
            if any(word.startswith(root) for word in words):
                end([pid])
        if self._places.homes.is_dir():
            for left in self._places.homes.iterdir():
                scratch.remove(left)

    def _free_user(self) -> int | None:
        """A user that no script runs as now, and most probably none ran as lately."""
        used = {child.record.user for child in self._children.all().values()}
        user: int | None = None
        for _ in range(100):
            user = self._users.of_slot(random.choice(self._slots))  # noqa: S311 -- any will do
            if user is None or user not in used:
                return user
        raise Unavailable("NO_USER", "Too many scripts run at once.", retry_after_s=1)

    async def _start(self, spec: ScriptSpec, user: int | None, interpreter: Path, pipes: Pipes) -> Child:
        async def spawned() -> Child:
            return self._children.watch(await self._in_thread(self._spawn, spec, user, interpreter, pipes))

        try:
            return await to_its_end(spawned())  # it is short, and must not run unwatched
        except BaseException:
            pipes.close()
            child = self._children.get(spec.run)
            if child is not None:  # cancelled meanwhile
                await asyncio.shield(self._end(child))
            raise

    def _spawn(self, spec: ScriptSpec, user: int | None, interpreter: Path, pipes: Pipes) -> Record:
        self._places.homes.mkdir(mode=0o711, parents=True, exist_ok=True)
        check_enterable(self._places.homes, user)
        home = self._places.homes / spec.run
        scratch.remove(home)
        (home / "tmp").mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
        (home / spec.file).write_bytes(spec.code)
        (home / "event.json").write_bytes(spec.event)
        if user is not None:
            for path in (home, home / "tmp", home / spec.file, home / "event.json"):
                os.chown(path, user, user)
        try:
            process = self._launch(home, _order(spec, home, user, interpreter, self._places.scratch_bytes), pipes)
            record = Record(spec.run, process, "", "", user, spec.memory_bytes, proc.boot_id())
            self._records.write(record)
        except OSError as error:
            scratch.remove(home)
            raise Unavailable("SPAWN_FAILED", f"No process can be started: {error.strerror}.") from error
        return record

    def _launch(self, home: Path, order: dict[str, object], pipes: Pipes) -> ProcessId:
        fd = os.memfd_create("order")
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(marshal.dumps(order))
            os.lseek(fd, 0, os.SEEK_SET)
            stdout, stderr = pipes.writers
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(home)],
                {name: os.environ[name] for name in _LOADER_VARIABLES if name in os.environ},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, fd, 0),
                    (os.POSIX_SPAWN_DUP2, stdout, 1),
                    (os.POSIX_SPAWN_DUP2, stderr, 2),
                ],
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
                setsigmask=[],
            )
        finally:
            os.close(fd)
        return proc.identify(pid) or ProcessId(pid, 0)

    async def _watch(self, child: Child, ended: asyncio.Event) -> None:
        """Kills it for what it uses too much of; once it has ended, ends what it left running. Then `ended` is set."""
        home, limit = self._places.homes / child.record.instance, child.record.memory_bytes
        while child.exit is None:
            try:
                async with asyncio.timeout(_WATCH_S):
                    await child.gone.wait()
            except TimeoutError:
                used = await self._in_thread(_used_bytes, child.record.process.pid, limit)
                if used > limit:
                    text = f"Out of memory: it used {used // _MIB} MiB, its limit is {limit // _MIB} MiB."
                    self._kill(child, Exit(out_of_memory=True, detail=text))
                elif await self._in_thread(scratch.used_bytes, home, self._places.scratch_bytes) > (
                    self._places.scratch_bytes
                ):
                    text = f"Out of disk: its files are more than {self._places.scratch_bytes // _MIB} MiB."
                    self._kill(child, Exit(signal=signal.SIGKILL, detail=text))
        await self._in_thread(self._end_strays, child.record)
        ended.set()

    def _kill(self, child: Child, why: Exit) -> None:
        if child.exit is None:
            child.exit_hint = why
            self._children.kill(child.record.process)

    async def _end(self, child: Child) -> None:
        await self._children.end(child, _GRACE_S, _KILL_S)
        await self._in_thread(self._end_strays, child.record)
        await self._in_thread(self._remove, child.record.instance)
        self._children.forget(child.record.instance)

    def _end_strays(self, record: Record) -> None:
        """What left its group is found by its user, else by the HOME in its environment."""
        if record.user is not None:
            self._users.end_all(record.user)
            return
        kin = Kin(record.instance, record.process, self._places.homes / record.instance, None)
        for _ in range(_STRAY_TRIES):
            left = strays.left_by(kin, [])
            if not left:
                return
            end(left)

    def _remove(self, run: str) -> None:
        scratch.remove(self._places.homes / run)
        self._records.delete(run)

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)


def _order(spec: ScriptSpec, home: Path, user: int | None, interpreter: Path, scratch_bytes: int) -> dict[str, object]:
    flags = ["-u"] if spec.language == "python" else [f"--max-old-space-size={spec.memory_bytes * 3 // 4 // _MIB}"]
    limits = Limits(spec.memory_bytes, cpu_millis=1000, timeout_ms=0, concurrency=_CONCURRENCY)
    certificates = {name: os.environ[name] for name in _CA_VARIABLES if name in os.environ}
    return {
        "argv": [str(interpreter), *flags, str(home / spec.file)],
        "env": {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **certificates,
            **spec.variables(),
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
        },
        "cwd": str(home),
        "user": user,
        "limits": {
            **resource_limits(limits, instances=1, own_user=user is not None),
            "RLIMIT_FSIZE": scratch_bytes,
        },
        "stdin": str(home / "event.json"),
    }


def _used_bytes(pid: int, limit: int) -> int:
    return proc.memory_bytes(proc.family([pid]), limit)
