"""Artifacts for process workloads: a tar of the code and its libraries, made on this machine."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO, cast

from build_svc import installers, sandbox, tree
from build_svc.domain import Artifact, ArtifactKind, BuildFailed, Runtime, Stage
from build_svc.installers import Installed
from build_svc.ports import Job, Journal
from build_svc.toolchain import CHECK_PYTHON, Toolchain
from build_svc.tree_cache import TreeCache
from mesh.blobs import BlobStore, digest_key
from mesh.errors import NotFound, ResourceExhausted

_CHUNK_BYTES = 1024 * 1024


class ProcessBuilder:
    """Builds with the machine's own interpreter and Node, the authors' part of it as an unprivileged user."""

    def __init__(self, toolchain: Toolchain, cache: TreeCache, blobs: BlobStore, *, max_bytes: int) -> None:
        self._toolchain = toolchain
        self._cache = cache
        self._blobs = blobs
        self._max_bytes = max_bytes

    async def environment(self, runtime: Runtime, journal: Journal) -> Mapping[str, str]:
        if runtime is Runtime.PYTHON:
            return {"python": (await self._toolchain.python()).abi}
        node = await self._toolchain.node()
        if node is None:
            raise BuildFailed(
                "There is no Node.js on this machine that any user can run;"
                " install it, or deploy with the target docker."
            )
        return {"node": node.abi}

    async def make(self, job: Job, journal: Journal) -> Artifact:
        home = job.scratch / "home"
        await asyncio.to_thread(installers.make_writable, home, job.uid)
        async with journal.stage(Stage.CHECK):
            await self._check(job, journal, home)
        async with journal.stage(Stage.INSTALL):
            installer = installers.Installer(self._toolchain, self._cache)
            installed = await installer.install(job, journal, home, await self.environment(job.runtime, journal))
        with tempfile.TemporaryFile(dir=job.scratch) as file:
            async with journal.stage(Stage.ASSEMBLE):
                await asyncio.to_thread(_pack, job, installed, cast(BinaryIO, file), self._max_bytes)
            async with journal.stage(Stage.PUSH):
                digest, size = await self._put(file)
        return Artifact(job.artifact_digest, ArtifactKind.TREE, digest_key(digest), size, job.entry_file)

    async def is_there(self, reference: str) -> bool:
        try:
            await self._blobs.head(reference)
        except NotFound:
            return False
        return True

    async def delete(self, reference: str) -> bool:
        await self._blobs.delete(reference)
        return True

    async def _check(self, job: Job, journal: Journal, home: Path) -> None:
        if job.runtime is Runtime.PYTHON:
            python = (await self._toolchain.python()).path
            script = await self._toolchain.readable(CHECK_PYTHON)
            argv = [str(python), "-I", "-S", str(script), str(job.app), job.entry_file, job.build.handler]
        else:
            node = await self._toolchain.node()
            assert node is not None  # or the environment would have said so
            argv = [str(node.path), "--check", str(job.app / job.entry_file)]
        lines: list[str] = []

        async def tell(line: bytes) -> None:
            line = line.replace(f"{job.app}/".encode(), b"")
            lines.append(line.decode("utf-8", "replace"))
            await journal.line(line)

        environment = await self._toolchain.environment(home)
        status = await sandbox.run(argv, uid=job.uid, cwd=job.app, env=environment, on_line=tell)
        if status != 0:
            raise BuildFailed(installers.check_error(job.runtime, lines, str(job.app)))

    async def _put(self, file: IO[bytes]) -> tuple[str, int]:
        try:
            return await self._blobs.put_stream(_chunks(file), max_bytes=self._max_bytes)
        except ResourceExhausted:
            raise BuildFailed(_too_large(self._max_bytes)) from None


def _pack(job: Job, installed: Installed, out: BinaryIO, max_bytes: int) -> None:
    """`app/`, with node_modules in it, and `packages/`; the header names the artifact and the build."""
    parts = {"app": installed.app}
    left_out: frozenset[str] = frozenset()
    if installed.packages is not None:
        parts["packages"] = installed.packages
    if installed.node_modules is not None:
        parts["app/node_modules"] = installed.node_modules
        left_out = frozenset({"app/node_modules"})
    comment = f"{job.artifact_digest} {job.build.uid}"
    if tree.pack(parts, out, comment=comment, left_out=left_out) > max_bytes:
        raise BuildFailed(_too_large(max_bytes))


def _too_large(max_bytes: int) -> str:
    return f"Code and libraries together are larger than {max_bytes // 2**20} MiB; leave out what is not needed."


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield chunk
