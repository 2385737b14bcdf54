"""Artifacts for the target spin: a component made of Python code, or brought along, and compiled for this machine."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from build_svc import installers, sandbox, tree
from build_svc.blob_artifacts import BlobArtifacts
from build_svc.domain import Artifact, ArtifactKind, BuildFailed, Runtime, Stage, artifact_digest
from build_svc.ports import Job, Journal
from build_svc.spin import artifact, checking, compiling, componentizing, packages
from build_svc.spin.artifact import Parts
from build_svc.spin.checking import Check
from build_svc.spin.compiling import Compiled, Component
from build_svc.spin.componentizing import Code, Limits
from build_svc.spin.hosts import Hosts
from build_svc.spin.pace import Pace
from build_svc.spin.tools import SpinTools, Tools
from build_svc.toolchain import Toolchain
from build_svc.tree_cache import TreeCache
from mesh.blobs import BlobStore
from runtimes.spin import manifest
from runtimes.spin.host import COMPILE_FLAGS, Host, cache_key, provider_digest
from runtimes.spin.manifest import ManifestInvalid, SpinApp

_FALLBACK_LINE = "There is no host program for components here: nothing was compiled ahead of time."
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=]", re.MULTILINE)
_NAMES_HANDLER = re.compile(rb"^\s*(class\s+IncomingHandler\b|IncomingHandler\s*[:=]|from\s.*\bimport\b)", re.MULTILINE)
_IDENTIFIERS = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*\.py")


@dataclass(frozen=True)
class Surroundings:
    """What the builder works with."""

    toolchain: Toolchain
    tools: SpinTools
    hosts: Hosts
    cache: TreeCache
    blobs: BlobStore
    pace: Pace


class SpinBuilder(BlobArtifacts):
    """Builds with the Spin toolchain and the host program of this machine, as an unprivileged user."""

    def __init__(self, around: Surroundings, limits: Limits, *, max_bytes: int) -> None:
        limit = f"{max_bytes // 2**20} MiB"
        too_large = f"The component and its files are larger than {limit}; leave out what is not needed."
        super().__init__(around.blobs, max_bytes=max_bytes, too_large=too_large)
        self._around = around
        self._limits = limits

    async def environment(self, runtime: Runtime, journal: Journal) -> Mapping[str, str]:
        host = await self._around.hosts.find()
        return {
            **self._around.tools.versions.as_mapping(),
            "provider": provider_digest(),
            "host": f"{host.kind} {host.version} {' '.join(COMPILE_FLAGS)}" if host else "",
        }

    async def make(self, job: Job, journal: Journal) -> Artifact:
        app, text = await asyncio.to_thread(_application, job)
        journal.plan(await self._around.pace.spans())
        entry_file = await asyncio.to_thread(_python_file, job, app)
        if entry_file:
            home = job.scratch / "home"
            await asyncio.to_thread(installers.make_writable, home, job.uid)
            wasm = await self._component(entry_file, job, journal, home)
        else:
            wasm = await asyncio.to_thread(_brought_along, job, app)
        shown = "The component" if entry_file else app.source
        host = await self._around.hosts.find()
        async with self._around.pace.stage(journal, Stage.VALIDATE):
            component = await asyncio.to_thread(compiling.validate, wasm, shown, job.scratch)
        compiled = await self._compiled(component, host, shown, job, journal)
        toolchain = self._around.tools.versions.as_mapping() if entry_file else {}
        parts = Parts(app, text, component, compiled, host, toolchain)
        with tempfile.TemporaryFile(dir=job.scratch) as file:
            async with self._around.pace.stage(journal, Stage.PUSH):
                comment = f"{job.artifact_digest} {job.build.uid}"
                out = cast(BinaryIO, file)
                packed = await asyncio.to_thread(artifact.pack, parts, job.app, job.scratch, out, comment=comment)
                self._check_size(packed)
                reference, size = await self._put(file)
        await self._around.pace.save()
        return Artifact(job.artifact_digest, ArtifactKind.WASM, reference, size, entry_file or job.entry_file)

    async def _component(self, entry_file: str, job: Job, journal: Journal, home: Path) -> Path:
        """The component that the code makes: an earlier one of the same code, else a new one."""
        around, versions = self._around, self._around.tools.versions
        await asyncio.to_thread(_check_text, job.app / entry_file, entry_file)
        tools = await around.tools.installed(job, journal, home)
        made_for = versions.as_mapping()
        found_packages = await packages.install(
            job, journal, home, versions.python, around.toolchain, around.cache, made_for
        )
        parts = {
            "code": await asyncio.to_thread(tree.digest, job.app, left_out=frozenset({manifest.FILE})),
            "packages": await asyncio.to_thread(tree.digest, found_packages) if found_packages else "",
            "entry": entry_file,
        }
        key = artifact_digest({"kind": "component", **parts, **made_for})
        async with around.cache.filling(key) as found:
            if found is not None:
                await journal.line("The component is the one of an earlier build of the same code.")
                return found / "app.wasm"
            made = await self._checked_and_made(Code(entry_file, found_packages, key), tools, job, journal, home)
            return await around.cache.keep(key, made.parent) / "app.wasm"

    async def _checked_and_made(self, code: Code, tools: Tools, job: Job, journal: Journal, home: Path) -> Path:
        """Check the code, and make the component meanwhile: each takes one of two cores. What mypy says comes first."""
        around = self._around
        check = Check(job.app, code.entry_file, code.packages, around.tools.versions.python)
        result: Path | Exception = BuildFailed("")
        try:
            async with asyncio.TaskGroup() as tasks:
                making = tasks.create_task(self._made(code, tools, job, journal))
                try:
                    async with around.pace.stage(journal, Stage.CHECK):
                        wrong = await checking.check(
                            check, tools, around.toolchain, job, journal, home, self._limits.as_rlimits
                        )
                        if wrong:
                            raise BuildFailed(wrong)
                    async with around.pace.stage(journal, Stage.COMPONENTIZE):
                        result = await making
                        if isinstance(result, Exception):
                            raise result
                except Exception as error:  # raised within, it would come out in a group
                    result = error
                making.cancel()
        finally:
            if job.uid is not None:
                await asyncio.shield(sandbox.end_all_of(job.uid))
        if isinstance(result, Exception):
            raise result
        return result

    async def _made(self, code: Code, tools: Tools, job: Job, journal: Journal) -> Path | Exception:
        try:
            return await componentizing.componentize(code, tools, self._around.toolchain, self._limits, job, journal)
        except Exception as error:
            return error

    async def _compiled(
        self, component: Component, host: Host | None, shown: str, job: Job, journal: Journal
    ) -> Compiled | None:
        if host is None:
            await journal.line(_FALLBACK_LINE)
            return None
        if host.kind == "spin":  # compiles what it runs itself
            return None
        around = self._around
        async with around.cache.filling(f"sha256:{cache_key(component.digest, host)}") as found:
            if found is not None:
                await journal.line("It is compiled for this machine already.")
                return await asyncio.to_thread(compiling.compiled, found)
            async with around.pace.stage(journal, Stage.COMPILE):
                made = await compiling.compile_ahead(
                    component, host, shown, around.toolchain, self._limits, job, journal
                )
                kept = await around.cache.keep(f"sha256:{cache_key(component.digest, host)}", made)
                return await asyncio.to_thread(compiling.compiled, kept)


def _application(job: Job) -> tuple[SpinApp, bytes]:
    """What is to be built, and the text of its spin.toml, which is written where the source is a single file."""
    path = job.app / manifest.FILE
    if path.is_file():
        text = path.read_bytes()
        try:
            return manifest.parse(text), text
        except ManifestInvalid as error:
            raise BuildFailed(str(error)) from None
    file = PurePosixPath(job.entry_file)
    if not job.single_file or file.suffix not in (".py", ".wasm"):
        raise BuildFailed(manifest.MISSING)
    app = manifest.of_single_file(file.stem)
    if file.suffix == ".wasm":
        app = replace(app, source=job.entry_file)
    return app, manifest.write(app).encode()


def _python_file(job: Job, app: SpinApp) -> str:
    if job.single_file:
        return "" if app.source == job.entry_file else job.entry_file
    names = [path.relative_to(job.app).as_posix() for path in job.app.rglob("*") if path.is_file()]
    return manifest.python_module(app, names)


def _brought_along(job: Job, app: SpinApp) -> Path:
    path = job.app / app.source
    if not path.is_file():
        raise BuildFailed(
            f"spin.toml: '{app.source}', the source of [component.{app.component}], is not there: put the built"
            " component into the source, or Python code as app.py."
        )
    return path


def _check_text(path: Path, shown: str) -> None:
    """What can be said before anything is run. Raises BuildFailed."""
    if not _IDENTIFIERS.fullmatch(shown):
        raise BuildFailed(f"{shown} cannot be imported: name it with letters, digits and _ only, such as app.py.")
    content = path.read_bytes()
    if not any(_CODING.match(line) for line in content.splitlines()[:2]):
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise BuildFailed(
                f"{shown}:{line}: not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8."
            ) from None
    if not _NAMES_HANDLER.search(content):
        raise BuildFailed(checking.no_handler(shown))
