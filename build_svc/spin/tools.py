"""The programs that make components of Python code, in a directory of their own: their pins clash with the mesh's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from build_svc import installers, sandbox, tree
from build_svc.domain import BuildFailed, Stage, artifact_digest
from build_svc.installers import PIP_OPTIONS
from build_svc.lines import LastLines
from build_svc.ports import Job, Journal
from build_svc.toolchain import Python, Toolchain

RUN_TOOL = Path(__file__).with_name("run_tool.py")
REPEATABLE = Path(__file__).with_name("repeatable.py")
_PROBE = """\
from spin_sdk.http import IncomingHandler as Base, Request, Response


class IncomingHandler(Base):
    def handle_request(self, request: Request) -> Response:
        return Response(200, {}, None)
"""


@dataclass(frozen=True)
class SpinVersions:
    """Which programs are installed; `python` is the minor version of the Python in the components they make."""

    sdk: str
    componentize: str
    mypy: str
    python: str

    def as_mapping(self) -> dict[str, str]:
        """By the names that they are known by."""
        return {
            "spin-sdk": self.sdk,
            "componentize-py": self.componentize,
            "mypy": self.mypy,
            "python in components": self.python,
        }


@dataclass(frozen=True)
class Tools:
    """What is installed: `programs` are run by `python`; `sdk` is the directory that authors' code imports from."""

    python: Python
    run_tool: Path
    programs: Path
    environment: Path
    mypy_cache: Path

    @property
    def sdk(self) -> Path:
        return self.environment / "lib" / "site-packages"

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line of a program."""
        return [str(self.python.path), "-I", "-S", str(self.run_tool), str(self.programs), program, *arguments]


def mypy_arguments(python: str, cache: Path, configuration: Path) -> list[str]:
    """The options. No configuration of the author's counts: it could name plugins, which are code."""
    return [
        *("-O", "json", "--no-error-summary", "--no-site-packages", "--explicit-package-bases"),
        *("--python-version", python, "--cache-dir", str(cache), "--config-file", str(configuration)),
    ]


def mypy_configuration(libraries: Iterable[str]) -> str:
    """Errors in libraries are not the author's; what mypy has cached of them counts only under the same settings."""
    names = ["spin_sdk", *libraries]
    return "[mypy]\n" + "".join(f"[mypy-{name},{name}.*]\nfollow_imports = silent\n" for name in names)


class SpinTools:
    """Installs what `versions` say below `directory` when it is first needed; whole, or not at all."""

    def __init__(self, directory: Path, toolchain: Toolchain, versions: SpinVersions) -> None:
        self._directory = directory
        self._toolchain = toolchain
        self.versions = versions
        self._lock = asyncio.Lock()

    async def installed(self, job: Job, journal: Journal, home: Path) -> Tools:
        """The programs; the job's user installs them where they are not there. Raises BuildFailed."""
        python = await self._toolchain.python()
        name = artifact_digest(self.versions.as_mapping() | {"python": python.abi}).removeprefix("sha256:")[:16]
        place = self._directory / f"spin-{name}"
        await self._toolchain.readable(REPEATABLE)  # lies beside it
        tools = Tools(
            python,
            await self._toolchain.readable(RUN_TOOL),
            place / "programs",
            place / "sdk",
            place.with_name(f"{place.name}-mypy"),
        )
        async with self._lock:
            if not (place.is_dir() and tools.mypy_cache.is_dir()):
                async with journal.stage(Stage.INSTALL):
                    await journal.line("Installing the Spin toolchain, once")
                    await self._install(tools, place, job, journal, home)
        return tools

    async def _install(self, tools: Tools, place: Path, job: Job, journal: Journal, home: Path) -> None:
        if not await asyncio.to_thread(place.is_dir):
            await self._fetch(tools, place, job, journal, home)
        await self._warm_up(tools, job, journal, home)

    async def _fetch(self, tools: Tools, place: Path, job: Job, journal: Journal, home: Path) -> None:
        out = job.scratch / "toolchain"
        await asyncio.to_thread(installers.make_writable, out, job.uid)
        wanted = {
            "programs": [f"componentize-py=={self.versions.componentize}", f"mypy=={self.versions.mypy}"],
            "sdk/lib/site-packages": ["--no-deps", f"spin-sdk=={self.versions.sdk}"],
        }
        pip = str(await self._toolchain.pip())
        for target, packages in wanted.items():
            argv = [str(tools.python.path), "-I", pip, *PIP_OPTIONS, "--only-binary=:all:"]
            error = await self._run([*argv, "--target", str(out / target), *packages], out, job, journal, home)
            if error:
                raise BuildFailed(f"The Spin toolchain could not be installed: {error}")
        await asyncio.to_thread(_keep, out, place)

    async def _warm_up(self, tools: Tools, job: Job, journal: Journal, home: Path) -> None:
        """Have mypy write down what it learns of the SDK and the standard library: most of what a check takes."""
        probe, cache = job.scratch / "probe", job.scratch / "mypy-cache"
        for directory in (probe, cache):
            await asyncio.to_thread(installers.make_writable, directory, job.uid)
        (probe / "app.py").write_text(_PROBE)
        configuration = probe / "mypy.ini"
        configuration.write_text(mypy_configuration([]))
        for file in probe.iterdir():
            file.chmod(0o644)
        argv = tools.command("mypy", *mypy_arguments(self.versions.python, cache, configuration), "app.py")
        await self._run(argv, probe, job, journal, home, {"MYPYPATH": str(tools.sdk)})
        await asyncio.to_thread(_keep, cache, tools.mypy_cache)

    async def _run(
        self,
        argv: list[str],
        cwd: Path,
        job: Job,
        journal: Journal,
        home: Path,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """What went wrong, in pip's words where it is pip; empty where nothing did."""
        last = LastLines(journal.line)
        environment = {**await self._toolchain.environment(home), **(env or {})}
        status = await sandbox.run(argv, uid=job.uid, cwd=cwd, env=environment, on_line=last)
        return installers.tool_error("pip", last.texts, status) if status != 0 else ""


def _keep(made: Path, place: Path) -> None:
    """Take over what the build's user made, under its name; read-only also for code that runs as our own user."""
    tree.take_over(made)
    try:
        made.rename(place)
    except OSError:
        if not place.is_dir():  # else another process was faster
            raise
        return
    for directory, _, files in os.walk(place, topdown=False):
        for file in files:
            Path(directory, file).chmod(0o444)
        Path(directory).chmod(0o555)
