"""A PostgreSQL server of the tests' own, on a loopback port of its own, with a fresh database for each test.

    python -m tests.support.postgres start|stop|purge

`start` prints a URL of the server's maintenance database. One server for all processes of a test run and for
concurrent runs of this user. Nothing in it outlives a crash of the machine: fsync is off.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from tests.support import processes
from tests.support.leases import Leases
from tests.support.ports import free_port, is_free
from tests.support.state_dir import file_lock, state_dir

_SUPERUSER = "fnmesh"
_UNPRIVILEGED = ("postgres", "nobody")
_START_DEADLINE_S = 30
_FAST_SHUTDOWN = signal.SIGINT  # clients are cut off
_CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_permissions = 0700
max_connections = 200
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 64MB
"""


class PostgresError(RuntimeError):
    """The server cannot be started here; the text says why."""


@dataclass(frozen=True)
class _Account:
    """Whom the server runs as: itself refuses to run as root."""

    name: str
    uid: int
    gid: int


class PostgresServer:
    """The one server whose state is in `root`; any process of this user may start, use and stop it.

    `durable`: what was committed outlives a crash of the server (still not one of the machine). Its port stays the
    same for as long as nobody else takes it.
    """

    def __init__(self, root: Path | None = None, *, durable: bool = False) -> None:
        self.root = root or state_dir() / "postgres"
        self._durable = durable
        self._data = self.root / "data"
        self._port_file = self.root / "port"
        self._password_file = self.root / "password"
        self._log = self.root / "postgres.log"
        self._lock = self.root.with_name(self.root.name + ".lock")
        self._leases = Leases(self.root.with_name(self.root.name + ".leases"))

    def start(self, *, for_run: int | None = None) -> str:
        """Start it unless it runs; returns the URL of its maintenance database (see `url`).

        With `for_run` (a pid) it is stopped by the last `release` of such a run; without, only by `stop`.
        Raises PostgresError.
        """
        with file_lock(self._lock):
            if self.pid() is None:
                self._launch()
            if for_run is None:
                self._leases.keep()
            else:
                self._leases.take(for_run)
        return self.url("postgres")

    def release(self, for_run: int) -> None:
        """The run ends: stop the server if nobody else uses it and the run used it at all."""
        with file_lock(self._lock):
            if self._leases.drop(for_run):
                self._shut_down()

    def stop(self) -> None:
        """End it, whoever uses it; its databases stay for the next start."""
        with file_lock(self._lock):
            self._leases.clear()
            self._shut_down()

    def purge(self) -> None:
        """End it and remove all that is its."""
        with file_lock(self._lock):
            self._leases.clear()
            self._shut_down()
            shutil.rmtree(self.root, ignore_errors=True)

    def url(self, database: str, *, driver: str = "postgresql+asyncpg") -> str:
        """Where SQLAlchemy finds `database` of the running server; holds the password."""
        password, port = self._password_file.read_text(), self._port_file.read_text()
        return f"{driver}://{_SUPERUSER}:{password}@127.0.0.1:{port}/{database}"

    def pid(self) -> int | None:
        """The server's pid while it runs."""
        pid = processes.pid_in(self._data / "postmaster.pid")
        if pid is None or not processes.is_running(pid) or processes.command_name(pid) != "postgres":
            return None
        return pid if str(self._data) in processes.command_line(pid) else None

    def pids(self) -> list[int]:
        """All processes of the running server, its own first."""
        pid = self.pid()
        return [] if pid is None else [pid, *processes.children(pid)]

    def crash(self) -> None:
        """SIGKILL to all its processes: what a start after it finds is what was on its way to the disk."""
        for pid in self.pids():
            processes.kill(pid)

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new empty database's URL; the database is dropped afterwards, whoever is still connected."""
        name = f"test_{secrets.token_hex(8)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, url: str = "") -> None:
        """Runs a statement, in a thread with a loop of its own, so that callers may be within a loop or not.

        `url` is that of one of its databases; else it is the maintenance database.
        """
        where = url.replace("postgresql+asyncpg", "postgresql") or self.url("postgres", driver="postgresql")

        async def run() -> None:
            connection = await asyncpg.connect(where)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, run()).result()

    def _launch(self) -> None:
        account = _account()
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster(account)
        for left in (self._data / "postmaster.pid", *self.root.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)
        port = self._last_port() or free_port()
        options = f"-p {port} -k {self.root}"
        start = f"start -w -t {_START_DEADLINE_S} -D {self._data} -l {self._log}".split()
        done = _run_as(account, [_program("pg_ctl"), *start, "-o", options])
        if done.returncode != 0:
            log = self._log.read_text(errors="replace") if self._log.exists() else ""
            raise PostgresError(f"PostgreSQL did not start:\n{log[-2000:]}\n{done.stdout}")
        self._port_file.write_text(str(port))

    def _make_cluster(self, account: _Account) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(mode=0o700)
        self._password_file.write_text(secrets.token_hex(16))
        self._password_file.chmod(0o600)
        for path in (self.root, self._password_file):
            os.chown(path, account.uid, account.gid)
        cluster = f"-D {self._data} -U {_SUPERUSER} --pwfile {self._password_file} --auth=scram-sha-256".split()
        done = _run_as(account, [_program("initdb"), *cluster, "--encoding=UTF8", "--locale=C", "--no-sync"])
        if done.returncode != 0:
            raise PostgresError(f"initdb failed:\n{done.stdout}")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_CONFIG)
            if self._durable:
                file.write("synchronous_commit = on\n")

    def _last_port(self) -> int | None:
        """The port of the last start, if it is free."""
        port = processes.pid_in(self._port_file)
        return port if port and is_free(port) else None

    def _shut_down(self) -> None:
        pid = self.pid()
        if pid is not None:
            processes.terminate(pid, grace_s=10, first=_FAST_SHUTDOWN)


def why_not_here() -> str | None:
    """Why no server can be started on this machine; None if it may be tried."""
    missing = [name for name in ("initdb", "pg_ctl", "postgres") if _find(name) is None]
    if missing:
        return f"PostgreSQL's {', '.join(missing)} not found (Debian: postgresql)"
    return None


def _find(name: str) -> str | None:
    """The newest Debian version's program, else the one on PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version_of, reverse=True)
    return shutil.which(name, path=os.pathsep.join([*map(str, versions), os.environ.get("PATH", "")]))


def _version_of(binaries: Path) -> float:
    try:
        return float(binaries.parent.name)
    except ValueError:
        return 0.0


def _program(name: str) -> str:
    found = _find(name)
    if found is None:
        raise PostgresError(why_not_here())
    return found


def _account() -> _Account:
    if os.getuid() != 0:
        return _Account("", os.getuid(), os.getgid())
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _Account(name, entry.pw_uid, entry.pw_gid)
    raise PostgresError(f"root cannot run PostgreSQL, and none of {_UNPRIVILEGED} is a user here")


def _run_as(account: _Account, argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Output goes to a file of the child's own: the server would keep a pipe open.

    `setpriv` becomes the user: for `subprocess` to do it this process would be forked, gRPC's threads and all.
    """
    if account.name:
        argv = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", *argv]
    with os.fdopen(os.memfd_create("output"), "w+") as output:
        done = subprocess.run(argv, stdout=output, stderr=output, cwd="/", check=False)
        output.seek(0)
        return subprocess.CompletedProcess(argv, done.returncode, output.read(), "")


def main(arguments: list[str]) -> int:
    if arguments not in (["start"], ["stop"], ["purge"]):
        print(__doc__, file=sys.stderr)
        return 2
    server = PostgresServer()
    if arguments == ["start"]:
        reason = why_not_here()
        if reason is not None:
            print(reason, file=sys.stderr)
            return 1
        print(server.start())
    elif arguments == ["stop"]:
        server.stop()
    else:
        server.purge()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
