"""A Docker daemon of the tests' own, in a directory of its own: Debian's `dockerd`, no system service.

    python -m tests.support.docker_daemon start|stop|purge

`start` prints the daemon's address; `stop` ends it and every container of it, images stay for the next start;
`purge` also removes its directory and what it changed on the machine (iptables, bridges, cgroups,
ip_forward). Each may be repeated at any time, also after a crash of the daemon or of the one who started it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from tests.support import processes
from tests.support.docker_network import MachineState
from tests.support.leases import Leases
from tests.support.state_dir import file_lock, state_dir

_START_DEADLINE_S = 30.0
_PING_TIMEOUT_S = 2.0
_DAEMON_NAMES = ("dockerd", "containerd", "containerd-shim")
_OPTIONS = (
    "--storage-driver=overlay2",
    "--exec-opt=native.cgroupdriver=cgroupfs",
    "--mtu=1400",
    "--live-restore",  # containers go on serving when the daemon is killed
    "--userland-proxy=false",  # so do their published ports
    "--shutdown-timeout=3",
    "--dns-opt=timeout:2",
    "--log-opt=max-size=10m",
)


class DockerDaemonError(RuntimeError):
    """The daemon cannot be started here; the text says why."""


class DockerDaemon:
    """The one daemon whose state is in `root`; any process of this user may start, use and stop it.

    `own_network`: it lives in a network namespace of its own, and so beside another daemon of this machine, with
    which it would share the bridge and the packet filter's chains otherwise. The ports that its containers publish
    are in there, and nothing outside is reached from there: run what needs them with `entered` before its command.
    """

    def __init__(self, root: Path | None = None, *, own_network: bool = False) -> None:
        self.root = root or state_dir() / "docker"
        self._namespace = f"fnmesh-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}" if own_network else ""
        self.url = f"unix://{self.root}/docker.sock"
        self._pidfile = self.root / "dockerd.pid"
        self._log = self.root / "dockerd.log"
        self._exec_root = self.root / "exec"
        self._machine_before = self.root / "machine-before.json"
        self._lock = self.root.with_name(self.root.name + ".lock")
        self._leases = Leases(self.root / "leases")

    def start(self, *, for_run: int | None = None) -> str:
        """Start it unless it answers already; returns its address for DOCKER_HOST.

        With `for_run` (a pid) it is stopped by the last `release` of such a run; without, only by `stop`.
        Raises DockerDaemonError.
        """
        with file_lock(self._lock):
            if not self.answers():
                self._clear()
                self._launch()
            if for_run is None:
                self._leases.keep()
            else:
                self._leases.take(for_run)
        return self.url

    def release(self, for_run: int) -> None:
        """The run ends: stop the daemon if nobody else uses it and the run used it at all."""
        if not self.root.exists():
            return
        with file_lock(self._lock):
            if self._leases.drop(for_run):
                self._clear()

    def stop(self) -> None:
        """End it and all its containers and networks, whoever uses them; images and build cache stay."""
        if not self.root.exists():
            return
        with file_lock(self._lock):
            self._leases.clear()
            self._clear()

    def purge(self) -> None:
        """Leave the machine as it was before the first start."""
        if not self.root.exists():
            return
        with file_lock(self._lock):
            self._leases.clear()
            self._clear()
            if self._namespace:
                _ip("netns", "del", self._namespace)
            if self._machine_before.exists() and not _foreign_daemons(self.root):
                MachineState.load(self._machine_before).restore()
            shutil.rmtree(self.root)

    def answers(self) -> bool:
        """Whether a daemon answers at the address now."""
        return answers(self.url)

    @property
    def entered(self) -> list[str]:
        """What runs the command after it where the daemon's ports are."""
        return ["nsenter", f"--net=/run/netns/{self._namespace}"] if self._namespace else []

    def pid(self) -> int | None:
        """The daemon's pid while it runs; a zombie, or another process of that number, is not it."""
        pid = processes.pid_in(self._pidfile)
        if pid is None or not processes.is_running(pid) or processes.command_name(pid) != "dockerd":
            return None
        return pid if _belongs_to(pid, self.root) else None

    def _launch(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        if self._namespace:
            if not Path("/run/netns", self._namespace).exists():
                _ip("netns", "add", self._namespace)
                _ip("-n", self._namespace, "link", "set", "lo", "up")
        elif not self._machine_before.exists():
            MachineState.read().save(self._machine_before)
        argv = [
            *self.entered,
            find_dockerd() or "dockerd",
            f"--data-root={self.root}/data",
            f"--exec-root={self._exec_root}",
            f"--pidfile={self._pidfile}",
            f"--host={self.url}",
            *_OPTIONS,
        ]
        self._log.write_text("")
        pid = processes.spawn_detached(argv, self._log)
        end = time.monotonic() + _START_DEADLINE_S
        while not self.answers():
            if not processes.is_running(pid) or time.monotonic() > end:
                last = "".join(self._log.read_text(errors="replace").splitlines(keepends=True)[-15:])
                self._clear()
                raise DockerDaemonError(f"dockerd did not start; the end of its log:\n{last}")
            time.sleep(0.05)

    def _clear(self) -> None:
        """No process, mount or socket of ours is left afterwards, whatever state the daemon is in."""
        pid = self.pid()
        if pid is not None:
            processes.resume(pid)
            self._remove_containers()
            processes.terminate(pid, grace_s=15)
        for leftover in self._leftovers():
            processes.kill(leftover)
        _unmount_below(self.root)
        shutil.rmtree(self._exec_root, ignore_errors=True)
        for path in (self._pidfile, self.root / "docker.sock"):
            path.unlink(missing_ok=True)

    def _remove_containers(self) -> None:
        try:
            api = docker.APIClient(base_url=self.url, version="auto", timeout=30)
            try:
                for container in api.containers(all=True, quiet=True):
                    api.remove_container(container["Id"], force=True, v=True)
                api.prune_networks()  # type: ignore[no-untyped-call]
            finally:
                api.close()
        except (DockerException, RequestException) as error:
            print(f"docker daemon: containers not removed in good order: {error}", file=sys.stderr)

    def _leftovers(self) -> list[int]:
        """First the containers' processes, which name no directory of ours, then shims and containerd."""
        inits = [
            pid
            for pidfile in self._exec_root.glob("containerd/daemon/io.containerd.runtime.v2.task/moby/*/init.pid")
            if (pid := processes.pid_in(pidfile)) is not None and _in_container(pid, pidfile.parent.name)
        ]
        daemons = [pid for pid in _daemon_pids() if _belongs_to(pid, self.root)]
        return inits + daemons


def answers(url: str) -> bool:
    """Whether a Docker daemon answers at `url` (unix:// or tcp://) within two seconds.

    Without the SDK: it leaks the socket of a connection that is refused.
    """
    parts = urlsplit(url)
    is_unix = parts.scheme == "unix"
    try:
        with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET) as connection:
            connection.settimeout(_PING_TIMEOUT_S)
            connection.connect(parts.path if is_unix else (parts.hostname, parts.port or 2375))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def find_dockerd() -> str | None:
    """Debian's own daemon first: a newer `docker` of another origin may come earlier on PATH."""
    sbin = os.pathsep.join(["/usr/sbin", "/usr/bin", "/sbin", os.environ.get("PATH", "")])
    return shutil.which("dockerd", path=sbin)


def why_not_here() -> str | None:
    """Why no daemon of our own can be started by this user on this machine; None if it may be tried."""
    if find_dockerd() is None:
        return "dockerd is not installed (Debian: docker.io)"
    if os.getuid() != 0:
        return "no Docker daemon answers, and only root can start one"
    for program in ("iptables", "ip"):
        if shutil.which(program) is None:
            return f"the program {program} is not installed"
    return None


def _daemon_pids() -> list[int]:
    return [pid for pid in processes.all_pids() if processes.command_name(pid).startswith(_DAEMON_NAMES)]


def _foreign_daemons(root: Path) -> list[int]:
    return [
        pid
        for pid in processes.all_pids()
        if processes.command_name(pid) == "dockerd" and processes.is_running(pid) and not _belongs_to(pid, root)
    ]


def _belongs_to(pid: int, root: Path) -> bool:
    return any(f"{root}/" in word for word in processes.command_line(pid))


def _in_container(pid: int, container_id: str) -> bool:
    try:
        return container_id in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=False)


def _unmount_below(root: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{root}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], check=False)


def main(arguments: list[str]) -> int:
    if arguments not in (["start"], ["stop"], ["purge"]):
        print(__doc__, file=sys.stderr)
        return 2
    daemon = DockerDaemon()
    if arguments == ["start"]:
        reason = why_not_here()
        if reason is not None:
            print(reason, file=sys.stderr)
            return 1
        print(daemon.start())
    elif arguments == ["stop"]:
        daemon.stop()
    else:
        daemon.purge()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
