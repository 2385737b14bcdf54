"""Starts the real servers, and talks to them over their real sockets."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runtimes.catalog import Launch, Placement, Runtime, command, install

FUNCTIONS = Path(__file__).parent / "functions"
DEADLINE_S = 20.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class UnixConnection(http.client.HTTPConnection):
    """http.client over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("fn.example.com", timeout=DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The values of a header joined by "|", so that a repeated one shows."""
        values = [value for key, value in self.headers if key.lower() == name]
        return "|".join(values) if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A server process and what it printed so far."""

    runtime: Runtime
    process: subprocess.Popen[bytes]
    listens_on: Path
    home: Path
    connections: ExitStack = field(default_factory=ExitStack)

    def connect(self) -> UnixConnection:
        connection = UnixConnection(self.listens_on)
        self.connections.callback(connection.close)
        connection.connect()
        return connection

    def raw(self) -> socket.socket:
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        raw.settimeout(DEADLINE_S)
        self.connections.callback(raw.close)
        raw.connect(str(self.listens_on))
        return raw

    def call(self, method: str = "GET", path: str = "/api/f", body: bytes | None = None, **headers: str) -> Answer:
        connection = self.connect()
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        return self.answer(connection)

    def probe(self) -> Answer | None:
        """What it says of its readiness; None while it does not listen yet (its socket is there before that)."""
        try:
            return self.call(path="/.fnmesh/ready")
        except (ConnectionRefusedError, FileNotFoundError):
            return None

    def invoke(self, event: object, **headers: str) -> Answer:
        return self.call("POST", "/.fnmesh/invoke", json.dumps(event).encode(), **headers)

    def begin(self, event: object, **headers: str) -> UnixConnection:
        """Send a direct invoke, without waiting for its answer."""
        connection = self.connect()
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request("POST", "/.fnmesh/invoke", json.dumps(event).encode(), named)
        return connection

    @staticmethod
    def answer(connection: http.client.HTTPConnection) -> Answer:
        response = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read())

    def printed(self, stream: str) -> bytes:
        return (self.home / stream).read_bytes()

    def frames(self, stream: str = "stdout") -> list[dict[str, Any]]:
        lines = self.printed(stream).split(b"\n")
        return [json.loads(line[1:]) for line in lines if line.startswith(b"\x1e")]

    def file(self, name: str) -> Path:
        return self.home / name

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


def eventually(condition: Callable[[], Any]) -> Any:
    """What `condition` gives once it is true; fails when that takes too long."""
    give_up = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"did not come true in {DEADLINE_S} s")


Start = Callable[..., Running]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(params=["python", pytest.param("node", marks=pytest.mark.node)])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    name: Runtime = request.param
    return name


@pytest.fixture
def start(runtime: Runtime, installed: Path) -> Iterator[Start]:
    """Start a server: `start("hello", concurrency=1, drain_ms=100)`, by default of functions/handlers.*."""
    interpreter = sys.executable if runtime == "python" else shutil.which("node") or "node"
    with ExitStack() as cleanup:

        def starter(
            handler: str = "handler",
            app: Path = FUNCTIONS,
            file: str = "handlers.py" if runtime == "python" else "handlers.js",
            packages: Path | None = None,
            extra: tuple[str, ...] = (),
            ready: bool = True,
            **launch: Any,
        ) -> Running:
            home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="fn", dir="/tmp")))
            server = install(runtime, installed)
            place = Placement(interpreter, server.server, app, server.lib, packages)
            argv = command(
                runtime,
                place,
                f"unix:{home}/s",
                Launch(file, "my-function", "rev-7", handler=handler, **launch),
            )
            with open(home / "stdout", "wb") as out, open(home / "stderr", "wb") as err:
                process = subprocess.Popen([*argv, *extra], stdout=out, stderr=err, cwd=app)
            running = Running(runtime, process, home / "s", home)

            def end() -> None:
                running.connections.close()
                process.kill()
                process.wait(DEADLINE_S)

            cleanup.callback(end)
            eventually(lambda: (home / "s").exists() or process.poll() is not None)
            if ready:
                answer = eventually(lambda: process.poll() is not None or running.probe())
                assert answer is not True, running.printed("stderr").decode()
                assert (answer.status, answer.body) == (200, b"ok"), running.printed("stderr").decode()
            return running

        yield starter
