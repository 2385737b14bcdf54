"""Components made ready for this machine: checked, put together with the provider, compiled by the host program."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from build_svc import installers, sandbox
from build_svc.domain import BuildFailed
from build_svc.lines import LastLines, killed
from build_svc.ports import Job, Journal
from build_svc.spin.componentizing import Limits
from build_svc.toolchain import Toolchain
from runtimes.spin.compose import ComposeError, compose, inspect
from runtimes.spin.host import COMPILE_FLAGS, Host, compile_argv

COMPONENT_BYTES_MAX = 256 * 2**20
_COMPILED = "app.cwasm"


@dataclass(frozen=True)
class Component:
    """A component that can be run here. `digest` is that of its bytes, `sha256:` and 64 hex digits."""

    path: Path
    digest: str
    composed: Path


@dataclass(frozen=True)
class Compiled:
    """What the host made of it: machine code, which is only ever loaded with the hash that it had when it was made."""

    path: Path
    sha256: str


def validate(path: Path, shown: str, scratch: Path) -> Component:
    """Check the component in a file of the author's, and compose it. Raises BuildFailed; `shown` is its name."""
    content = _read(path, shown)
    try:
        inspect(content)
        composed = compose(content)
    except ComposeError as error:
        raise BuildFailed(f"{shown} cannot be run: {error}") from None
    place = scratch / "validated"
    place.mkdir(mode=0o755)
    (place / "app.wasm").write_bytes(content)
    (place / "app.composed.wasm").write_bytes(composed)
    for file in place.iterdir():
        file.chmod(0o644)
    digest = hashlib.sha256(content).hexdigest()
    return Component(place / "app.wasm", f"sha256:{digest}", place / "app.composed.wasm")


async def compile_ahead(
    component: Component, host: Host, shown: str, toolchain: Toolchain, limits: Limits, job: Job, journal: Journal
) -> Path:
    """A directory with machine code for the host, made by the build's user. Raises BuildFailed with its words."""
    home, out = job.scratch / "compiling", job.scratch / "compiled"
    for directory in (home, out):
        await asyncio.to_thread(installers.make_writable, directory, job.uid)
    last = LastLines(journal.line)
    env = {"PATH": toolchain.search_path(), "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8"}
    argv = compile_argv(host, component.composed, out / _COMPILED, COMPILE_FLAGS)
    status = await sandbox.run(
        argv,
        uid=job.uid,
        cwd=home,
        env=env,
        on_line=last,
        limits={"DATA": 2 * limits.memory_bytes},
        network=False,
    )
    if status != 0:
        said = killed(Path(argv[0]).name, status) or host_error(last.texts) or f"the host ended with status {status}"
        raise BuildFailed(f"{shown} cannot be compiled: {said}")
    if (out / _COMPILED).is_symlink() or not (out / _COMPILED).is_file():
        raise BuildFailed(f"{shown} cannot be compiled: the host left nothing.")
    return out


def host_error(lines: list[str]) -> str:
    """The host's error and what caused it as one line."""
    said = [line.strip() for line in lines if line.strip() and line.strip() != "Caused by:"]
    return ": ".join(dict.fromkeys(line.removeprefix("Error: ") for line in said[:6]))


def _read(path: Path, shown: str) -> bytes:
    """Raises BuildFailed for what is no plain file, or is too large."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BuildFailed(f"{shown} cannot be read: {error.strerror}.") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BuildFailed(f"{shown} is no plain file; put the component itself in its place.")
        if status.st_size > COMPONENT_BYTES_MAX:
            limit = f"{COMPONENT_BYTES_MAX // 2**20} MiB"
            raise BuildFailed(f"{shown} is larger than {limit}; build it for release, without what is for debuggers.")
        return file.read()


def compiled(directory: Path) -> Compiled:
    """What was compiled into a directory that is ours."""
    with (directory / _COMPILED).open("rb") as file:
        return Compiled(directory / _COMPILED, hashlib.file_digest(file, "sha256").hexdigest())
