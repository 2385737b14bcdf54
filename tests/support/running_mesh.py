"""A whole mesh for tests: the real `fnmesh up`, from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.state_dir import envoy_cache

SERVICES = ("registry", "build", "deploy", "invoke", "gateway")
ROOT = Path(__file__).parents[2]
START_S = 90.0
STOP_S = 60.0


class RunningMesh:
    """`fnmesh up` on a data directory of its own. `start` again after `stop` or `kill` uses the same one."""

    programs: Mapping[str, int] = dict.fromkeys(("up", "envoy", *SERVICES), 1)
    """How often each of its programs runs."""

    def __init__(self, *, environ: Mapping[str, str] | None = None, listen: str = "127.0.0.1:0") -> None:
        # Below /tmp, and not in pytest's private directory: the users of workloads have to get there.
        self.data_dir = Path(tempfile.mkdtemp(prefix="fnm-e2e-", dir="/tmp"))
        self.data_dir.chmod(0o711)
        self.url = ""
        self.environ = {**clean_environ(), **shared_cache(), "HOME": str(self.data_dir), **(environ or {})}
        self._listen = listen
        self._process: subprocess.Popen[str] | None = None

    @property
    def server(self) -> str:
        """`host:port`."""
        return self.url.removeprefix("http://")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def run_dir(self) -> Path:
        """Where its sockets are."""
        return Path("/tmp") / f"fnmesh-{_digest(self.data_dir)}"

    def start(self) -> RunningMesh:
        """Starts it and waits for its ready line."""
        command = [sys.executable, "-m", "cli", "up", "--data-dir", str(self.data_dir), "--listen", self._listen]
        with (self.data_dir / "up.err").open("a") as errors:
            process = subprocess.Popen(
                [*command, "--json"], stdout=subprocess.PIPE, stderr=errors, text=True,
                env=self.environ, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        self._process = process
        timer = threading.Timer(START_S, process.kill)
        timer.start()
        assert process.stdout is not None
        line = process.stdout.readline()
        timer.cancel()
        if not line:
            process.wait()
            self._close()
        assert line, f"`fnmesh up` did not start:\n{self.errors()}\n{self.log_tails()}"
        self.url = json.loads(line)["url"]
        self._listen = self.server
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stops it in order; its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"`fnmesh up` did not stop:\n{self.errors()}\n{self.log_tails()}") from None
        self._close()
        return code

    def wait(self, deadline_s: float = STOP_S) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None
        code = self._process.wait(deadline_s)
        self._close()
        return code

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._close()

    def remove(self) -> None:
        """Ends whatever is left of it, and its data."""
        if self.runs:
            self.stop()
        for pid in self.processes():
            processes.kill(pid)
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def cli(
        self, *arguments: str, check: bool = True, stdin: str | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `fnmesh` against it."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            input=stdin, capture_output=True, text=True, check=False, cwd=ROOT, timeout=170,
            env={**self.environ, "FNMESH_SERVER": self.server, **environ},
        )  # fmt: skip
        assert not check or done.returncode == 0, f"fnmesh {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done

    def cli_json(self, *arguments: str, **environ: str) -> Any:
        """What `fnmesh ... --json` prints."""
        return json.loads(self.cli(*arguments, "--json", **environ).stdout)

    def first_key(self) -> str:
        """Makes the key of an admin, before it is started."""
        return self.cli(
            "key", "create", "--offline", "--scope", "admin", "--data-dir", str(self.data_dir)
        ).stdout.strip()

    def service_pid(self, name: str) -> int:
        """The process of a service or of Envoy, by its module or program."""
        wanted = {"envoy": "--config-path"}.get(name, "gateway" if name == "gateway" else f"{name}_svc")
        found = self.processes_of(wanted)
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def processes_of(self, argument: str) -> list[int]:
        """Its processes with this argument on their command line."""
        return [pid for pid in self.processes() if argument in processes.command_line(pid)]

    def processes(self) -> list[int]:
        """All processes that have to do with its directories, `up` included."""
        return processes_that_name(str(self.data_dir), self.run_dir.name)

    def errors(self) -> str:
        """What `up` wrote to stderr."""
        return (self.data_dir / "up.err").read_text()

    def log_tails(self) -> str:
        """The ends of the services' logs, for the message of a failed test."""
        logs = sorted((self.data_dir / "logs").glob("*.log"))
        return "\n".join(f"-- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    def _close(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def orderly_mesh(environ: Mapping[str, str] | None = None) -> Iterator[RunningMesh]:
    """A mesh that runs within the context, stops in order at its end, and leaves nothing."""
    running = RunningMesh(environ=environ)
    try:
        yield running.start()
        assert running.stop() == 0, running.errors()
        assert running.processes() == []
    finally:
        running.remove()


def processes_that_name(*directories: str) -> list[int]:
    """Running processes, but for this one, whose command line or environment names one of the directories."""
    words = [directory.encode() for directory in directories]
    own = {os.getpid()}
    return [
        pid
        for pid in processes.all_pids()
        if pid not in own and processes.is_running(pid) and any(word in _traces_of(pid) for word in words)
    ]


def _digest(data_dir: Path) -> str:
    import hashlib

    return hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:8]


def _traces_of(pid: int) -> bytes:
    """Command line and environment of a process."""
    found = b""
    for name in ("cmdline", "environ"):
        try:
            found += Path(f"/proc/{pid}/{name}").read_bytes()
        except OSError:
            continue
    return found


def shared_cache() -> dict[str, str]:
    """The setting by which meshes of tests need not make Envoy's configuration each for itself."""
    return {"FNMESH_GATEWAY_CACHE_DIR": str(envoy_cache())}


def clean_environ() -> dict[str, str]:
    """This environment without the mesh's settings and the test runner's."""
    return {name: value for name, value in os.environ.items() if not re.match(r"FNMESH_|PYTEST_|XDG_", name)}
