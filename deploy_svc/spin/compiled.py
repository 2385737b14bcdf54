"""Machine code of components. Only what the mesh itself had made is ever loaded, and only with the hash that it had
then: a host program takes what it is given for its own compiler's word.

An artifact brings code that its builder compiled. Where that was for another host, or is damaged, it is compiled
here and kept below `root`: `<artifact>/<key>.cwasm` (see runtimes.spin.host.cache_key) with its hash beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from deploy_svc.spin.application import Application
from mesh.errors import FailedPrecondition
from mesh.logs import get_logger
from runtimes.spin.compose import ComposeError, compose
from runtimes.spin.host import COMPILE_FLAGS, Host, cache_key, compile_argv

log = get_logger(__name__)
T = TypeVar("T")
_COMPILE_LIMIT_S = 300.0
_JUST_USED_S = 120.0
_SAID_CHARS = 500


class CompiledComponents:
    """Finds or makes code. Work that blocks is done by `executor`."""

    def __init__(self, root: Path, executor: Executor) -> None:
        self._root = root
        self._executor = executor
        self._locks: dict[str, asyncio.Lock] = {}
        self._used: dict[str, float] = {}
        self._checked: dict[Path, tuple[int, int, int]] = {}

    async def ensure(self, application: Application, tree: Path, artifact: str, host: Host, user: int | None) -> Path:
        """A file of machine code for the host, which the user may read.

        Raises FailedPrecondition (COMPONENT_INVALID) with what the host said.
        """
        name = artifact.removeprefix("sha256:").replace("/", "_")
        self._used[name] = time.monotonic()
        async with self._locks.setdefault(name, asyncio.Lock()):
            if application.compiled_for(host):
                brought = tree / "app.cwasm"
                if await self._in_thread(self._is_sound, brought, application.cwasm_sha256):
                    return brought
                log.warning("compiled_component_damaged", artifact=artifact)
            kept = self._root / name / f"{cache_key(application.wasm_digest, host)}.cwasm"
            if await self._in_thread(self._is_sound, kept, _read(kept.with_suffix(".sha256"))):
                return kept
            await self._in_thread(_compile, tree / "app.wasm", application.wasm_digest, kept, host, user)
            return kept

    async def sweep(self, keep: frozenset[str]) -> None:
        """Delete what was made for other artifacts than those to keep."""
        now = time.monotonic()
        self._used = {name: at for name, at in self._used.items() if now - at < _JUST_USED_S}
        kept = {digest.removeprefix("sha256:").replace("/", "_") for digest in keep} | set(self._used)
        self._locks = {name: lock for name, lock in self._locks.items() if name in kept}
        self._checked = {path: state for path, state in self._checked.items() if path.exists()}
        await self._in_thread(_sweep, self._root, kept)

    def _is_sound(self, path: Path, sha256: str) -> bool:
        """Whether the file is there and has the hash; read once as long as nobody touches it."""
        try:
            status = path.stat()
            state = (status.st_mtime_ns, status.st_size, status.st_ino)
            if not sha256:
                return False
            if self._checked.get(path) != state:
                with path.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        return False
                self._checked[path] = state
        except OSError:
            return False
        return True

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)


def _compile(wasm: Path, digest: str, kept: Path, host: Host, user: int | None) -> None:
    """Blocks for as long as the compiler takes: some ten seconds for a component with Python in it."""
    component = wasm.read_bytes()
    if f"sha256:{hashlib.sha256(component).hexdigest()}" != digest:
        raise FailedPrecondition("ARTIFACT_BROKEN", "The component is not the one that was built: deploy it again.")
    try:
        composed = compose(component)
    except ComposeError as error:
        raise FailedPrecondition("COMPONENT_INVALID", f"The component cannot be run: {error}") from error
    kept.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    kept.parent.parent.chmod(0o711)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=kept.parent) as name:
        place, out = Path(name), Path(name) / "out"
        place.chmod(0o711)
        out.mkdir(mode=0o700)
        (place / "in.wasm").write_bytes(composed)
        (place / "in.wasm").chmod(0o444)
        if user is not None:
            os.chown(out, user, user)
        _run(compile_argv(host, place / "in.wasm", out / "out.cwasm", COMPILE_FLAGS), out, user)
        shutil.copyfile(out / "out.cwasm", place / "copy", follow_symlinks=False)
        with (place / "copy").open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        (place / "copy").chmod(0o444)
        (place / "sha256").write_text(sha256)
        (place / "copy").replace(kept)
        (place / "sha256").replace(kept.with_suffix(".sha256"))


def _run(argv: list[str], place: Path, user: int | None) -> None:
    """The compiler reads what somebody else has made, so it runs with no more rights than that one's function."""
    as_user = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    try:
        done = subprocess.run(
            argv, cwd=place, env={"HOME": str(place), "TMPDIR": str(place)}, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_COMPILE_LIMIT_S, check=False, start_new_session=True, **as_user,  # type: ignore[call-overload]
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedPrecondition("COMPONENT_INVALID", f"The component cannot be compiled: {error}.") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())[:_SAID_CHARS]
        raise FailedPrecondition("COMPONENT_INVALID", f"The component cannot be compiled: {said}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _sweep(root: Path, kept: set[str]) -> None:
    for entry in root.iterdir() if root.is_dir() else ():
        if entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True)
