"""Starts the process of an instance: its directory, its limits, its command line."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy_svc.domain import Limits, Runtime, Workload
from deploy_svc.launch import launch_of
from deploy_svc.ports import InstanceSpec
from deploy_svc.process import launchers, proc, scratch
from deploy_svc.process.proc import ProcessId
from deploy_svc.process.records import Record
from deploy_svc.process.toolchain import Toolchain, check_enterable
from mesh.errors import Unavailable
from runtimes.catalog import Placement, command

MARK = "FNMESH_INSTANCE="
"""Begins the word of a command line that names the instance's directory, where `--listen` does not."""
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_MIB = 1 << 20
_SLACK_BYTES = 64 * _MIB
_STACK_BYTES = 8 * _MIB
_OPEN_FILES = 4096
_PROCESSES = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What the process of an instance is. `env`, the secrets among it, is in no repr and on no command line.

    `limits` are RLIMIT_* by name; `memory_bytes` is what it may use before it is killed (0: no limit).
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    address: str
    limits: Mapping[str, int]
    memory_bytes: int


class Spawner:
    """Starts workloads with their directories below `instances` and their output below `logs`."""

    def __init__(self, instances: Path, logs: Path, *, file_bytes: int) -> None:
        self._instances = instances
        self._logs = logs
        self._file_bytes = file_bytes
        self._launchers = launchers.Launchers()

    def log_path(self, instance: str) -> Path:
        """Where the output of an instance is."""
        return self._logs / f"{instance}.log"

    def check(self, user: int | None) -> None:
        """Make the directories. Raises FailedPrecondition (DATA_DIR_PRIVATE) where the user cannot get there."""
        self._instances.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_enterable(self._instances, user)

    def prepare(self) -> None:
        """Make ready what the next start needs, if it is not there."""
        with contextlib.suppress(OSError):
            self._launchers.prepare()

    def close(self) -> None:
        """Give up what was made ready."""
        self._launchers.close()

    def spawn(self, spec: InstanceSpec, user: int | None, plan: Plan) -> Record:
        """Start it. Raises Unavailable where the machine has no process or memory left for it."""
        home = self._instances / spec.uid
        scratch.remove(home)
        (home / "tmp").mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
        if user is not None:
            os.chown(home, user, user)
            os.chown(home / "tmp", user, user)
        order: dict[str, object] = {
            "argv": list(plan.argv),
            "env": dict(plan.env),
            "cwd": str(plan.cwd),
            "user": user,
            "limits": {**plan.limits, "RLIMIT_FSIZE": self._file_bytes},
        }
        try:
            pid = self._launchers.launch(str(home), order, self.log_path(spec.uid))
        except OSError as error:
            scratch.remove(home)
            raise Unavailable("SPAWN_FAILED", f"No process can be started: {error.strerror}.") from error
        process = proc.identify(pid) or ProcessId(pid, 0)
        return Record(
            instance=spec.uid,
            process=process,
            address=plan.address,
            artifact=spec.workload.artifact.digest,
            user=user,
            memory_bytes=plan.memory_bytes,
            boot=proc.boot_id(),
        )

    def find_started(self) -> Iterator[tuple[ProcessId, str]]:
        """Processes whose command line says that they are an instance of this mesh, and which."""
        found = []
        root = f"{self._instances}/"
        for pid, words in proc.commands():
            listen = next((b for a, b in itertools.pairwise(words) if a == "--listen"), "")
            name = listen.removeprefix("unix:").removesuffix("/s")
            marked = next((word.removeprefix(MARK) for word in words if word.startswith(MARK)), "")
            name = launchers.name_of(words) or marked or name
            if name.startswith(root) and "/" not in name[len(root) :]:
                process = proc.identify(pid)
                if process is not None:
                    found.append((process, name[len(root) :]))
        return iter(found)


def server_plan(spec: InstanceSpec, user: int | None, toolchain: Toolchain, tree: Path, home: Path) -> Plan:
    """The process of one of the mesh's own servers."""
    workload = spec.workload
    return Plan(
        argv=_argv(workload, toolchain, tree, f"unix:{home}/s"),
        env=environment(workload, home),
        cwd=tree / "app",
        address=f"unix:{home}/s",
        limits=resource_limits(workload.limits, instances=spec.instances, own_user=user is not None),
        memory_bytes=workload.limits.memory_bytes,
    )


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
