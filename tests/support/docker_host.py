"""Which Docker daemon the tests use.

FNMESH_TEST_DOCKER = auto (default): our own daemon if it runs; else one that answers at DOCKER_HOST or at the
system's socket; else our own is started. own: always our own. An address (unix://... or tcp://...): that one.
"""

from __future__ import annotations

import os
from functools import cache

from tests.support import docker_daemon
from tests.support.docker_daemon import DockerDaemon, DockerDaemonError
from tests.support.leases import run_pid

_SYSTEM_SOCKET = "unix:///var/run/docker.sock"


def obtain() -> str:
    """The address of a daemon that answers, held for this test run. Raises DockerDaemonError."""
    given = _other_daemon()
    if given is not None:
        return given
    reason = docker_daemon.why_not_here()
    if reason is not None:
        raise DockerDaemonError(reason)
    return DockerDaemon().start(for_run=run_pid())


def release() -> None:
    """The test run ends: what it started stops, unless another run uses it or FNMESH_TEST_KEEP=1."""
    DockerDaemon().release(run_pid())


@cache
def why_missing() -> str | None:
    """Why `obtain` would fail, as far as can be seen without starting anything; None if it may be tried."""
    try:
        return None if _other_daemon() is not None else docker_daemon.why_not_here()
    except DockerDaemonError as error:
        return str(error)


def _other_daemon() -> str | None:
    choice = os.environ.get("FNMESH_TEST_DOCKER", "auto")
    if choice == "own":
        return None
    if choice != "auto":
        if not docker_daemon.answers(choice):
            raise DockerDaemonError(f"no Docker daemon answers at FNMESH_TEST_DOCKER={choice}")
        return choice
    if DockerDaemon().answers():
        return None
    for url in (os.environ.get("DOCKER_HOST"), _SYSTEM_SOCKET):
        if url and docker_daemon.answers(url):
            return url
    return None
