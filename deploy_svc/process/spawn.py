"""Starts the process of an instance: its directory, its limits, its command line."""

from __future__ import annotations

import itertools
import marshal
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from deploy_svc.domain import Limits, Runtime, Workload
from deploy_svc.launch import launch_of
from deploy_svc.ports import InstanceSpec
from deploy_svc.process import proc
from deploy_svc.process.proc import ProcessId
from deploy_svc.process.records import Record
from deploy_svc.process.toolchain import Toolchain, check_enterable
from mesh.errors import Unavailable
from runtimes.catalog import Placement, command

_LAUNCHER = Path(__file__).parent.parent / "launcher.py"
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_LOADER_VARIABLES = ("LD_LIBRARY_PATH",)  # for the launcher: the mesh's interpreter may need it
_MIB = 1 << 20
_SLACK_BYTES = 64 * _MIB
_STACK_BYTES = 8 * _MIB
_FILE_BYTES = 4 << 30
_OPEN_FILES = 4096
_PROCESSES = 256


class Spawner:
    """Starts workloads with their directories below `instances` and their output below `logs`."""

    def __init__(self, instances: Path, logs: Path) -> None:
        self._instances = instances
        self._logs = logs

    def log_path(self, instance: str) -> Path:
        """Where the output of an instance is."""
        return self._logs / f"{instance}.log"

    def check(self, user: int | None) -> None:
        """Make the directories. Raises FailedPrecondition (DATA_DIR_PRIVATE) where the user cannot get there."""
        self._instances.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_enterable(self._instances, user)

    def spawn(self, spec: InstanceSpec, user: int | None, toolchain: Toolchain, tree: Path) -> Record:
        """Start it. Raises Unavailable where the machine has no process or memory left for it."""
        home = self._instances / spec.uid
        shutil.rmtree(home, ignore_errors=True)
        (home / "tmp").mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
        if user is not None:
            os.chown(home, user, user)
            os.chown(home / "tmp", user, user)
        workload = spec.workload
        order: dict[str, object] = {
            "argv": _argv(workload, toolchain, tree, f"unix:{home}/s"),
            "env": environment(workload, home),
            "cwd": str(tree / "app"),
            "user": user,
            "limits": resource_limits(workload.limits, instances=spec.instances, own_user=user is not None),
        }
        try:
            pid = self._launch(home, order, self.log_path(spec.uid))
        except OSError as error:
            shutil.rmtree(home, ignore_errors=True)
            raise Unavailable("SPAWN_FAILED", f"No process can be started: {error.strerror}.") from error
        process = proc.identify(pid) or ProcessId(pid, 0)
        return Record(
            instance=spec.uid,
            process=process,
            address=f"unix:{home}/s",
            artifact=workload.artifact.digest,
            user=user,
            memory_bytes=workload.limits.memory_bytes,
            boot=proc.boot_id(),
        )

    def find_started(self) -> Iterator[tuple[ProcessId, str]]:
        """Processes whose command line says that they are an instance of this mesh, and which."""
        found = []
        root = f"{self._instances}/"
        for pid, words in proc.commands():
            listen = next((b for a, b in itertools.pairwise(words) if a == "--listen"), "")
            name = listen.removeprefix("unix:").removesuffix("/s")
            if str(_LAUNCHER) in words:
                name = words[-1]
            if name.startswith(root) and "/" not in name[len(root) :]:
                process = proc.identify(pid)
                if process is not None:
                    found.append((process, name[len(root) :]))
        return iter(found)

    def _launch(self, home: Path, order: dict[str, object], output: Path) -> int:
        """The order goes through a file in memory: nothing of it on a command line, and no pipe that could fill."""
        fd = os.memfd_create("order")
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(marshal.dumps(order))
            os.lseek(fd, 0, os.SEEK_SET)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            return os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(home)],
                {name: os.environ[name] for name in _LOADER_VARIABLES if name in os.environ},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, fd, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
                setsigmask=[],
            )
        finally:
            os.close(fd)


def environment(workload: Workload, home: Path) -> dict[str, str]:
    """All that the process sees of an environment: the function's own, and where it may write."""
    certificates = {name: os.environ[name] for name in _CA_VARIABLES if name in os.environ}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **certificates,
        **workload.env,
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
    }


def resource_limits(limits: Limits, *, instances: int, own_user: bool) -> dict[str, int]:
    """RLIMIT_* of the process.

    RLIMIT_AS would count what is only reserved (V8 reserves gigabytes, each thread of glibc 64 MiB), so the hard
    stop is RLIMIT_DATA, which counts what may be written: the memory limit, and room for the stacks of threads.
    The memory that is really used is watched by the driver. NPROC counts all processes of a user, so it is set
    for users that only this function has.
    """
    threads = min(limits.concurrency, 64) + 8
    known = {
        "RLIMIT_CORE": 0,
        "RLIMIT_DATA": limits.memory_bytes + _SLACK_BYTES + threads * _STACK_BYTES,
        "RLIMIT_FSIZE": _FILE_BYTES,
        "RLIMIT_NOFILE": _OPEN_FILES,
    }
    if own_user:
        known["RLIMIT_NPROC"] = max(2, instances + 1) * (_PROCESSES + limits.concurrency)
    return known


def _argv(workload: Workload, toolchain: Toolchain, tree: Path, listen: str) -> list[str]:
    packages = tree / "packages"
    memory_mb = max(1, workload.limits.memory_bytes // _MIB)
    place = Placement(
        interpreter=str(toolchain.interpreter),
        server=toolchain.server,
        app=tree / "app",
        lib=toolchain.lib,
        packages=packages if packages.is_dir() else None,
    )
    launch = launch_of(workload)
    runtime: Literal["python", "node"] = "node" if workload.runtime is Runtime.NODE else "python"
    argv = command(runtime, place, listen, launch)
    if runtime == "node":
        argv.insert(1, f"--max-old-space-size={max(16, memory_mb * 3 // 4)}")
    return argv
