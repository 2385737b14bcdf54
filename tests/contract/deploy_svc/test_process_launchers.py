"""Launchers: a workload is the same, whether its launcher waited for it or was started for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_svc.process.launchers import Launchers
from tests.support import processes

SCRIPT = "import os, sys; print(os.getcwd(), sorted(os.environ), os.getsid(0) == os.getpid(), sys.stdin.read() == '')"


@pytest.fixture
def launchers() -> Iterator[Launchers]:
    made = Launchers()
    yield made
    made.close()


def order(tmp_path: Path, **env: str) -> dict[str, object]:
    argv = [sys.executable, "-I", "-S", "-c", SCRIPT]
    return {"argv": argv, "env": {"A": "1", **env}, "cwd": str(tmp_path), "limits": {"RLIMIT_CORE": 0}, "user": None}


def output_of(pid: int, file: Path) -> str:
    """What it wrote, once it has ended well."""
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, file.read_text()
    return file.read_text()


def test_a_waiting_launcher_becomes_the_workload(launchers: Launchers, tmp_path: Path) -> None:
    launchers.prepare()
    spare = launchers.spare_pid
    launchers.prepare()
    assert launchers.spare_pid == spare

    assert spare
    os.kill(spare, signal.SIGSTOP)
    pid = launchers.launch("first", order(tmp_path), tmp_path / "first.log")
    assert (tmp_path / "first.log").exists(), "whoever follows it may come before the launcher opens it"
    os.kill(pid, signal.SIGCONT)
    assert pid == spare
    assert launchers.spare_pid is None
    other = launchers.launch("second", order(tmp_path), tmp_path / "second.log")
    assert other != spare
    told = output_of(pid, tmp_path / "first.log")
    assert told == output_of(other, tmp_path / "second.log")
    assert told == f"{tmp_path} ['A', 'LC_CTYPE'] True True\n"
    assert (tmp_path / "first.log").stat().st_mode & 0o777 == 0o600


def test_a_waiting_launcher_that_was_killed_is_replaced(launchers: Launchers, tmp_path: Path) -> None:
    launchers.prepare()
    killed = launchers.spare_pid
    assert killed
    os.kill(killed, signal.SIGKILL)
    assert processes.wait_ended(killed, 10)
    pid = launchers.launch("any", order(tmp_path), tmp_path / "log")
    assert pid != killed
    assert output_of(pid, tmp_path / "log")

    launchers.prepare()
    killed = launchers.spare_pid
    assert killed
    os.kill(killed, signal.SIGKILL)
    assert processes.wait_ended(killed, 10)
    launchers.prepare()
    assert launchers.spare_pid not in (None, killed)


def test_an_order_that_no_pipe_takes_gets_a_launcher_of_its_own(launchers: Launchers, tmp_path: Path) -> None:
    launchers.prepare()
    spare = launchers.spare_pid
    assert spare
    pid = launchers.launch("large", order(tmp_path, LARGE="x" * 100_000), tmp_path / "log")
    assert pid != spare
    assert "LARGE" in output_of(pid, tmp_path / "log")
    assert not processes.is_running(spare)


def test_a_waiting_launcher_ends_with_its_keeper(tmp_path: Path) -> None:
    code = """
import time
from deploy_svc.process.launchers import Launchers
launchers = Launchers()
launchers.prepare()
print(launchers.spare_pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        spare = int(keeper.stdout.readline())
        assert processes.is_running(spare)
        keeper.kill()
    assert processes.wait_ended(spare, 10)
