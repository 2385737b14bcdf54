"""Runs the authors' code while it is built: as nobody, without the mesh's environment, killed whole at its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from build_svc.lines import LineSink, Splitter

_LAUNCHER = Path(__file__).with_name("launcher.py")
_READ_BYTES = 64 * 1024
_DRAIN_S = 2.0
_LIMITS = {"NOFILE": 4096, "CORE": 0, "FSIZE": 4 * 2**30}
_NPROC = 512

PASSED_ON = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
)  # fmt: skip
_PASSED_ON_PREFIXES = ("PIP_", "NPM_CONFIG_")
_PASSED_ON_SUFFIX = "_PROXY"
_OURS_TO_SET = frozenset(
    [
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_USER",
        "PIP_SRC",
        "PIP_PYTHON",
        "PIP_CACHE_DIR",
        "PIP_NO_CACHE_DIR",
        "PIP_CONFIG_FILE",
        "PIP_LOG",
        "PIP_LOG_FILE",
        "PIP_REQUIREMENT",
        "PIP_CONSTRAINT",
        "PIP_EDITABLE",
        "PIP_DRY_RUN",
        "PIP_REPORT",
        "PIP_QUIET",
        "PIP_VERBOSE",
        "PIP_REQUIRE_VIRTUALENV",
        "NPM_CONFIG_PREFIX",
        "NPM_CONFIG_CACHE",
        "NPM_CONFIG_USERCONFIG",
        "NPM_CONFIG_GLOBAL",
        "NPM_CONFIG_LOCATION",
        "NPM_CONFIG_DRY_RUN",
        "NPM_CONFIG_LOGS_DIR",
        "NPM_CONFIG_TMP",
    ]
)


def operators_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the service's environment says how to reach package indexes: certificates, proxies, pip, npm.

    An allow-list; nothing else of the mesh's environment is ever seen by a build.
    """
    return {
        name: value
        for name, value in environ.items()
        if name.upper() not in _OURS_TO_SET
        and (
            name in PASSED_ON
            or name.upper().startswith(_PASSED_ON_PREFIXES)
            or name.upper().endswith(_PASSED_ON_SUFFIX)
        )
        and not name.upper().startswith("FNMESH")
    }


def reachable(path: Path) -> bool:
    """Whether the user of builds can read `path`.

    As root that may be any user: every directory above it may be passed by all, and it may be read by all. Otherwise
    it is the mesh's own user. What cannot even be looked at is out of reach.
    """
    try:
        path = path.resolve()
        wanted = 0o005 if path.is_dir() else 0o004
        if os.geteuid() != 0:
            return os.access(path, wanted)
        return path.stat().st_mode & wanted == wanted and all(one.stat().st_mode & 0o001 for one in path.parents)
    except OSError:
        return False


async def run(
    argv: Sequence[str],
    *,
    uid: int | None,
    cwd: Path,
    env: Mapping[str, str],
    on_line: LineSink,
    limits: Mapping[str, int] | None = None,
    network: bool = True,
    beside_others: bool = False,
) -> int:
    """Run `argv` as `uid` in a session of its own and pass on each line it writes; returns its exit status.

    Whatever it started is dead when this returns, also when it is cancelled; only its session is where it runs
    `beside_others` of the same user, whose caller calls `end_all_of` at the end. `limits` are more of them, by the
    names of `resource.RLIMIT_*`. Without `network` it reaches none, where the kernel lets us take it away.
    """
    all_limits = _LIMITS | ({} if uid is None else {"NPROC": _NPROC}) | dict(limits or {})
    spec: dict[str, object] = {"limits": all_limits, "parent": os.getpid(), "network": network}
    if uid is not None:
        spec["uid"] = uid
    ended_with_it = None if beside_others else uid
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(_LAUNCHER), "run", json.dumps(spec), *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
        env=dict(env),
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.TaskGroup() as tasks:
            lines = tasks.create_task(_pass_on(process.stdout, on_line))
            status = await process.wait()
            await _kill(process, ended_with_it)
            _, pending = await asyncio.wait({lines}, timeout=_DRAIN_S)
            if pending:  # something that is not ours to kill holds the pipe
                lines.cancel()
    finally:
        await asyncio.shield(_kill(process, ended_with_it))
    return status


async def _kill(process: asyncio.subprocess.Process, uid: int | None) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if uid is not None:
        await end_all_of(uid)
    await process.wait()


async def end_all_of(uid: int) -> None:
    """Kill everything the build's user runs. Only as root."""
    killer = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(_LAUNCHER), "end", json.dumps({"uid": uid}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )  # fmt: skip
    await killer.wait()


async def _pass_on(stream: asyncio.StreamReader, on_line: LineSink) -> None:
    lines = Splitter(on_line)
    while piece := await stream.read(_READ_BYTES):
        await lines.feed(piece)
    await lines.end()
