"""Artifacts for process workloads: a tar of the code and its libraries, made on this machine."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

from build_svc import installers, lines, sandbox, tree
from build_svc.blob_artifacts import BlobArtifacts
from build_svc.domain import Artifact, ArtifactKind, BuildFailed, Runtime, Stage
from build_svc.installers import Installed
from build_svc.lines import LastLines
from build_svc.ports import Job, Journal
from build_svc.toolchain import CHECK_PYTHON, Toolchain
from build_svc.tree_cache import TreeCache
from mesh.blobs import BlobStore


class ProcessBuilder(BlobArtifacts):
    """Builds with the machine's own interpreter and Node, the authors' part of it as an unprivileged user."""

    def __init__(self, toolchain: Toolchain, cache: TreeCache, blobs: BlobStore, *, max_bytes: int) -> None:
        limit = f"{max_bytes // 2**20} MiB"
        too_large = f"Code and libraries together are larger than {limit}; leave out what is not needed."
        super().__init__(blobs, max_bytes=max_bytes, too_large=too_large)
        self._toolchain = toolchain
        self._cache = cache

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
                self._check_size(await asyncio.to_thread(_pack, job, installed, cast(BinaryIO, file)))
            async with journal.stage(Stage.PUSH):
                reference, size = await self._put(file)
        return Artifact(job.artifact_digest, ArtifactKind.TREE, reference, size, job.entry_file)

    async def _check(self, job: Job, journal: Journal, home: Path) -> None:
        if job.runtime is Runtime.PYTHON:
            python = (await self._toolchain.python()).path
            script = await self._toolchain.readable(CHECK_PYTHON)
            argv = [str(python), "-I", "-S", str(script), str(job.app), job.entry_file, job.build.handler]
        else:
            node = await self._toolchain.node()
            assert node is not None  # or the environment would have said so
            argv = [str(node.path), "--check", str(job.app / job.entry_file)]
        last = LastLines(journal.line)

        async def tell(line: bytes) -> None:
            await last(line.replace(f"{job.app}/".encode(), b""))

        environment = await self._toolchain.environment(home)
        status = await sandbox.run(argv, uid=job.uid, cwd=job.app, env=environment, on_line=tell)
        if status != 0:
            said = installers.check_error(job.runtime, last.texts, str(job.app))
            raise BuildFailed(lines.killed("The check of the code", status) or said)


def _pack(job: Job, installed: Installed, out: BinaryIO) -> int:
    """`app/`, with node_modules in it, and `packages/`; the header names the artifact and the build. Its size."""
    parts = {"app": installed.app}
    left_out: frozenset[str] = frozenset()
    if installed.packages is not None:
        parts["packages"] = installed.packages
    if installed.node_modules is not None:
        parts["app/node_modules"] = installed.node_modules
        left_out = frozenset({"app/node_modules"})
    comment = f"{job.artifact_digest} {job.build.uid}"
    return tree.pack(parts, out, comment=comment, left_out=left_out)
