"""A shared server is stopped by the last run that leaves."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.leases import Leases

_OTHER_RUN = os.getppid()


def test_the_last_to_leave_is_told_so(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    leases.take(os.getpid())
    leases.take(_OTHER_RUN)
    assert leases.drop(os.getpid()) is False
    assert leases.drop(_OTHER_RUN) is True


def test_a_run_that_never_used_it_stops_nothing(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    leases.take(_OTHER_RUN)
    assert leases.drop(os.getpid()) is False


def test_a_run_that_died_does_not_count(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    leases.take(os.getpid())
    (tmp_path / f"{_OTHER_RUN}.1").touch()  # the same pid, another start time
    assert leases.drop(os.getpid()) is True


def test_a_server_started_by_hand_is_kept(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    leases.keep()
    leases.take(os.getpid())
    assert leases.drop(os.getpid()) is False
