"""Services that a nursery forks: as if each had been started by itself."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.up import forked
from cli.up.child import Child
from cli.up.forked import Nursery, nursery
from cli.up.plan import FORKED, IMPORTED_LATE
from tests.support import processes
from tests.support.eventually import eventually, eventually_sync
from tests.support.running_mesh import ROOT

SERVICE = """
import os, signal, sys

if __name__ == "__main__":
    print(sys.argv[1:], os.environ["GREETING"], __name__, "svc_one.__main__" in sys.modules, flush=True)
    print(os.getppid(), os.getsid(0) == os.getpid(), sorted(os.listdir("/proc/self/fd")), flush=True)
    if sys.argv[1:2] == ["wait"]:
        signal.pause()
    sys.exit(3)
"""
_PR_GET_CHILD_SUBREAPER = 37


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    for name, code in (("svc_one", SERVICE), ("svc_broken", "import no_such_module\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "__main__.py").write_text(code)
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{tmp_path}", "GREETING": "hello"}


@pytest.fixture
async def forks(environ: dict[str, str]) -> AsyncIterator[Nursery]:
    async with nursery(("svc_one",), environ) as begun:
        assert begun is not None
        yield begun


def child(tmp_path: Path, environ: dict[str, str], *arguments: str, module: str = "svc_one") -> Child:
    return Child(module, [sys.executable, "-m", module, *arguments], environ, tmp_path / "log")


def lines(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


async def test_it_is_as_if_started_by_itself(tmp_path: Path, environ: dict[str, str], forks: Nursery) -> None:
    with (tmp_path / "forked").open("wb") as log:
        by_fork = await forks.fork([sys.executable, "-m", "svc_one", "a", "b c"], log.fileno())
    assert by_fork is not None
    assert await by_fork.wait() == by_fork.returncode == 3
    alone = child(tmp_path, environ, "a", "b c")
    await alone.start()
    assert await alone.wait() == 3

    said = (tmp_path / "forked").read_text().splitlines()
    assert said == lines(tmp_path)
    assert said[0] == "['a', 'b c'] hello __main__ False"
    assert said[1].startswith(f"{os.getpid()} True ['0', '1', '2',")


async def test_it_can_be_told_from_others_and_is_stopped(
    tmp_path: Path, environ: dict[str, str], forks: Nursery
) -> None:
    one = child(tmp_path, environ, "wait")

    await one.start(forks)

    assert one.pid is not None
    await eventually(lambda: len(lines(tmp_path)) == 2)
    assert processes.command_line(one.pid) == [sys.executable, "-m", "svc_one", "wait"]
    assert one.pid in processes.working_in(tmp_path)  # by its environment
    assert not await one.stop(10.0)  # by SIGTERM, which is no end without an error
    assert (one.running, await one.wait()) == (False, -signal.SIGTERM)


@pytest.mark.parametrize("module", ["svc_broken", "no_such_service"])
async def test_what_cannot_be_forked_says_why(tmp_path: Path, environ: dict[str, str], module: str) -> None:
    wrong, right = child(tmp_path, environ, module=module), child(tmp_path, environ)

    async with nursery((module, "svc_one"), environ) as forks:
        await wrong.start(forks)
        assert await wrong.wait() == 1
        assert "No module named" in wrong.last_words()
        await right.start(forks)
        assert await right.wait() == 3


async def test_a_nursery_that_is_killed_stops_no_start(tmp_path: Path, environ: dict[str, str], forks: Nursery) -> None:
    (pid,) = [pid for pid in processes.children(os.getpid()) if "cli.up.nursery" in processes.command_line(pid)]
    os.kill(pid, signal.SIGKILL)
    one = child(tmp_path, environ)

    await one.start(forks)

    assert await one.wait() == 3


async def test_a_start_that_is_cancelled_leaves_nobody(tmp_path: Path, environ: dict[str, str]) -> None:
    one = child(tmp_path, environ, "wait")

    async with nursery(("svc_one",), environ) as forks:
        starting = asyncio.create_task(one.start(forks))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    await eventually(lambda: processes.working_in(tmp_path) == [])
    assert not one.was_started
    assert lines(tmp_path) == []


def test_nobody_goes_on_of_whom_nobody_knows(tmp_path: Path, environ: dict[str, str]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "cli.up.nursery", str(theirs.fileno()), str(os.getpid())]
    with ours, (tmp_path / "log").open("wb") as log:
        with theirs:
            running = subprocess.Popen(command, env=environ, pass_fds=(theirs.fileno(),))
        socket.send_fds(ours, [json.dumps([sys.executable, "-m", "svc_one"]).encode()], [log.fileno()])
        pid = json.loads(ours.recv(100))["pid"]
        assert processes.is_running(pid)
    assert running.wait(30) == 0

    eventually_sync(lambda: not processes.is_running(pid))
    assert lines(tmp_path) == []


async def test_orphans_are_adopted_only_meanwhile(environ: dict[str, str]) -> None:
    def adopts() -> bool:
        answer = ctypes.c_int()
        assert ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0) == 0
        return bool(answer.value)

    async with nursery((), environ):
        assert adopts()
    assert not adopts()


async def test_elsewhere_there_is_none(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    monkeypatch.setattr(forked.sys, "platform", "darwin")
    async with nursery(("svc_one",), environ) as begun:
        assert begun is None


def test_importing_services_starts_no_thread() -> None:
    imports = ", ".join([*IMPORTED_LATE, *(f"{module}.__main__" for module in FORKED)])
    code = f"import os, {imports}\nprint(len(os.listdir('/proc/self/task')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
    )  # fmt: skip
    assert done.stdout == "1\n"
