"""Functions in containers, and a Docker daemon of the suite's own that is killed and stopped (docker_round.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import length
from tests.support import docker_daemon, require
from tests.support.docker_daemon import DockerDaemon
from tests.support.running_mesh import ROOT

pytestmark = pytest.mark.docker
_TIMEOUT_S = length.chosen().test_timeout_s(175)


@pytest.fixture
def own_daemon(tmp_run_dir: Path) -> Iterator[DockerDaemon]:
    """A daemon that may be killed, beside the one that all tests share."""
    reason = docker_daemon.why_not_here()
    if reason is not None:
        require.missing("docker", f"there can be no daemon of the suite's own: {reason}")
    daemon = DockerDaemon(tmp_run_dir / "d", own_network=True)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.purge()


@pytest.mark.timeout(_TIMEOUT_S)
def test_dockerd_is_killed_and_stopped_under_load(own_daemon: DockerDaemon, chaos: length.Length) -> None:
    command = [*own_daemon.entered, sys.executable, "-m", "tests.chaos.docker_round", str(own_daemon.root)]
    paths = [str(ROOT), str(ROOT / "protos"), str(ROOT / "client"), os.environ.get("PYTHONPATH", "")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "FNMESH_CHAOS_SEED": str(chaos.seed)}
    output = None if chaos.is_long else subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environ, text=True, stdout=output, stderr=subprocess.STDOUT) as rounds:
        try:
            said, _ = rounds.communicate()
        finally:
            rounds.terminate()  # it takes its mesh along

    assert rounds.returncode == 0, said or "see its output above"
