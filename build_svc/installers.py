"""Installs what a source asks for, with pip or npm, as the build's user."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from build_svc import libraries, sandbox, tree
from build_svc.domain import BuildFailed, Runtime
from build_svc.libraries import NODE_FILES, PYTHON_FILES, Libraries
from build_svc.lines import LastLines, killed, nowhere
from build_svc.ports import Job, Journal
from build_svc.toolchain import Toolchain
from build_svc.tree_cache import TreeCache

_TEXT_BYTES_MAX = 16 * 2**20
PIP_OPTIONS = (
    "install", "--no-input", "--no-color", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar=off",
    "--root-user-action=ignore", "--no-warn-script-location", "--no-compile",
)  # fmt: skip
NPM_OPTIONS = (
    "--omit=dev",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--no-progress",
    "--color=false",
)
_PIP_STEP = re.compile(r"\s*(Collecting|Downloading|Using cached|Building wheel|Getting requirements) ")
_NPM_ERROR = re.compile(r"npm (ERR!|error) ?(.*)")


@dataclass(frozen=True)
class Installed:
    """What goes into the artifact: the code, and where the libraries are (None where there are none)."""

    app: Path
    packages: Path | None = None
    node_modules: Path | None = None


class Installer:
    """Installs into trees that the cache keeps; what is there already is not installed again."""

    def __init__(self, toolchain: Toolchain, cache: TreeCache) -> None:
        self._toolchain = toolchain
        self._cache = cache

    async def install(self, job: Job, journal: Journal, home: Path, environment: Mapping[str, str]) -> Installed:
        """Raises BuildFailed with the tool's own error line, LibrariesInvalid."""
        wanted = libraries.find(job.runtime, read_texts(job.app, job.runtime))
        if wanted is None:
            return Installed(job.app)
        if job.runtime is Runtime.NODE and not wanted.shared:
            return Installed(await self._npm(job, journal, home, None))
        key = libraries.cache_key(wanted, environment, job.build.source_digest)
        async with self._cache.filling(key) as found:
            if found is not None:
                await journal.line("The libraries are the ones of an earlier build; nothing to install.")
                place = found
            elif job.runtime is Runtime.PYTHON:
                place = await self._cache.keep(key, await self._pip(job, journal, home, wanted))
            else:
                place = await self._cache.keep(key, await self._npm(job, journal, home, wanted))
        if job.runtime is Runtime.PYTHON:
            return Installed(job.app, packages=place)
        return Installed(job.app, node_modules=place)

    async def _pip(self, job: Job, journal: Journal, home: Path, wanted: Libraries) -> Path:
        work, out = job.scratch / "install", job.scratch / "out"
        await asyncio.to_thread(_lay_out, job, work, wanted if wanted.shared else None)
        await asyncio.to_thread(make_writable, out, job.uid)
        python = str((await self._toolchain.python()).path)
        pip = str(await self._toolchain.pip())
        packages = out / "packages"
        argv = [python, "-I", pip, *PIP_OPTIONS, "--target", str(packages), "-r", "requirements.txt"]
        await self._run(argv, job, journal, home, work, "pip")
        if not packages.exists():  # every line had a marker that does not hold here
            packages.mkdir()
        compiling = [
            python,
            "-I",
            "-m",
            "compileall",
            "-q",
            "--invalidation-mode",
            "unchecked-hash",
            str(packages),
        ]
        await sandbox.run(  # what does not compile says so when it is imported
            compiling, uid=job.uid, cwd=work, env=await self._toolchain.environment(home), on_line=nowhere
        )
        return _plain_directory(packages)

    async def _npm(self, job: Job, journal: Journal, home: Path, wanted: Libraries | None) -> Path:
        """Returns node_modules, or the whole directory that npm worked in where no libraries are given."""
        node = await self._toolchain.node()
        if node is None or node.npm is None:
            raise BuildFailed("npm is not installed on this machine; install it, or deploy with the target docker.")
        work = job.scratch / "install"
        await asyncio.to_thread(_lay_out, job, work, wanted)
        locked = (work / "package-lock.json").exists() or (work / "npm-shrinkwrap.json").exists()
        argv = [str(node.npm), "ci" if locked else "install", *NPM_OPTIONS]
        await self._run(argv, job, journal, home, work, "npm")
        if wanted is None:
            await asyncio.to_thread(tree.take_over, work)
            return work
        (work / "node_modules").mkdir(exist_ok=True)
        return _plain_directory(work / "node_modules")

    async def _run(
        self,
        argv: list[str],
        job: Job,
        journal: Journal,
        home: Path,
        work: Path,
        tool: str,
    ) -> None:
        steps = 0
        last = LastLines(journal.line)

        async def tell(raw: bytes) -> None:
            nonlocal steps
            await last(raw)
            text = last.texts[-1]
            if _PIP_STEP.match(text):
                steps += 1
                await journal.progress(0.8 * steps / (steps + 6))
            elif text.startswith("Installing collected packages"):
                await journal.progress(0.85)

        status = await sandbox.run(
            argv, uid=job.uid, cwd=work, env=await self._toolchain.environment(home), on_line=tell
        )
        if status != 0:
            raise BuildFailed(tool_error(tool, last.texts, status))


def read_texts(app: Path, runtime: Runtime) -> dict[str, str]:
    """The files at the root of a source that say what to install. Raises BuildFailed for one that is not text."""
    found = {}
    for name in PYTHON_FILES if runtime is Runtime.PYTHON else NODE_FILES:
        path = app / name
        if not path.is_file():
            continue
        if path.stat().st_size > _TEXT_BYTES_MAX:
            limit = f"{_TEXT_BYTES_MAX // 2**20} MiB"
            raise BuildFailed(f"{name} is larger than {limit}; name only what is to be installed in it.")
        try:
            found[name] = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BuildFailed(
                f"{name} is not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8."
            ) from error
    return found


def make_writable(path: Path, uid: int | None) -> None:
    """Make a directory that belongs to the build's user alone."""
    path.mkdir(mode=0o700)
    if uid is not None:
        os.chown(path, uid, uid)


def give(path: Path, uid: int | None) -> None:
    """Make a directory and all that is in it the build's user's own."""
    if uid is None:
        return
    for directory, _, files in os.walk(path):
        for one in (directory, *(f"{directory}/{name}" for name in files)):
            os.chown(one, uid, uid, follow_symlinks=False)


def pip_error(lines: list[str]) -> str:
    """pip's own last error line; its last line of all where it has none."""
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if line.startswith("ERROR:")]
    return (errors or said or [""])[-1]


def npm_error(lines: list[str]) -> str:
    """npm's own error: its first line that says more than a code."""
    matches = [match for line in lines if (match := _NPM_ERROR.match(line.strip()))]
    for match in matches:
        if match[2] and not re.match(r"(code|errno|syscall|path|command|A complete log)\b", match[2].strip()):
            return f"npm error {match[2].strip()}"
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else ""


def tool_error(tool: str, lines: list[str], status: int) -> str:
    """Why pip or npm failed, by what it wrote last and its exit status."""
    said = (pip_error if tool == "pip" else npm_error)(lines)
    return killed(tool, status) or said or f"{tool} ended with status {status} and said nothing; build again."


def check_error(runtime: Runtime, lines: list[str], app: str) -> str:
    """The checker's complaint as one line: `handler.py:3: invalid syntax`."""
    said = [line.strip() for line in lines if line.strip() and not line.startswith("warning: ")]
    if runtime is Runtime.PYTHON:
        return said[-1] if said else "The code could not be checked."
    place = next((line.removeprefix(f"{app}/") for line in said if re.match(r".*:\d+$", line)), "")
    problem = next((line for line in said if re.match(r"\w*Error\b", line)), "The code is not valid JavaScript.")
    return f"{place}: {problem}" if place else problem


def _lay_out(job: Job, work: Path, wanted: Libraries | None) -> None:
    """The directory to install in: only the files that name the libraries, or all of the code."""
    if wanted is None:
        shutil.copytree(job.app, work, symlinks=True)
    else:
        work.mkdir()
        for name in wanted.key_texts:
            shutil.copyfile(job.app / name, work / name)
    give(work, job.uid)


def _plain_directory(path: Path) -> Path:
    if path.is_symlink() or not path.is_dir():
        raise BuildFailed(f"The installation left no directory {path.name}; see its last lines, and build again.")
    return path
