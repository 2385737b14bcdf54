"""Processes are judged by what they are, not by a number in a file."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import processes
from tests.support.eventually import eventually_sync


def test_a_detached_process_is_seen_and_ended(tmp_path: Path) -> None:
    pid = processes.spawn_detached(["sleep", "60"], tmp_path / "log")
    assert eventually_sync(lambda: processes.command_line(pid)) == ["sleep", "60"]
    assert processes.is_running(pid)
    processes.terminate(pid, grace_s=5)
    assert not processes.is_running(pid)


def test_one_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap '' TERM; touch {ready}; while :; do sleep 1; done"
    pid = processes.spawn_detached(["sh", "-c", script], tmp_path / "log")
    eventually_sync(ready.exists)
    processes.terminate(pid, grace_s=0.1)
    assert not processes.is_running(pid)


def test_a_zombie_is_not_running() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        assert eventually_sync(lambda: not processes.is_running(pid))
        assert processes.start_ticks(pid) is not None, "its entry is there, it is the state that tells"
    finally:
        os.waitpid(pid, 0)


def test_a_pidfile_without_a_number_names_nobody(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("none\n")
    assert processes.pid_in(tmp_path / "pid") is None
    assert processes.pid_in(tmp_path / "absent") is None
