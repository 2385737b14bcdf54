"""Pure-Python libraries for components: wheels for any platform, nothing of which is run to install it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from build_svc import installers, libraries, sandbox
from build_svc.domain import BuildFailed, Runtime, Stage
from build_svc.installers import PIP_OPTIONS
from build_svc.lines import LastLines
from build_svc.ports import Job, Journal
from build_svc.spin import requirements
from build_svc.spin.requirements import FILE
from build_svc.spin.run_pip import REFUSED
from build_svc.toolchain import Toolchain
from build_svc.tree_cache import TreeCache

_WHEELS_ONLY = "a component can have pure-Python libraries only, from wheels for any platform"
_NOT_FOUND = "No matching distribution found"
_RUN_PIP = Path(__file__).with_name("run_pip.py")


async def install(
    job: Job,
    journal: Journal,
    home: Path,
    python: str,
    toolchain: Toolchain,
    cache: TreeCache,
    made_for: Mapping[str, str],
) -> Path | None:
    """The directory of what requirements.txt asks for, for the Python `python` in components; None for nothing.

    The spin-sdk itself may be asked for, as its templates do: it is there. Raises BuildFailed with pip's own line.
    """
    texts = installers.read_texts(job.app, Runtime.PYTHON)
    asked = requirements.checked(_without_sdk(texts.get(FILE, "")), lambda name: _text_beside(job.app / name))
    wanted = libraries.find(Runtime.PYTHON, {FILE: asked[FILE]})
    if wanted is None:
        return None
    key = libraries.cache_key(wanted, {**made_for, "for": "spin"}, job.build.source_digest)
    async with journal.stage(Stage.INSTALL), cache.filling(key) as found:
        if found is not None:
            await journal.line("The libraries are the ones of an earlier build; nothing to install.")
            return found
        out = job.scratch / "out"
        await asyncio.to_thread(_lay_out, job, asked, out)
        await _pip(job, journal, home, python, toolchain, out)
        (out / "packages").mkdir(exist_ok=True)  # every line had a marker that does not hold here
        return await cache.keep(key, out / "packages")


async def _pip(job: Job, journal: Journal, home: Path, python: str, toolchain: Toolchain, out: Path) -> None:
    interpreter, run_pip = str((await toolchain.python()).path), str(await toolchain.readable(_RUN_PIP))
    argv = [
        *(interpreter, "-I", run_pip, str(await toolchain.pip()), *PIP_OPTIONS, "--only-binary=:all:"),
        *("--platform", "any", "--implementation", "py", "--abi", "none", "--python-version", python),
        *("--target", str(out / "packages"), "-r", str(out / FILE)),
    ]
    last = LastLines(journal.line)
    env = await toolchain.environment(home)
    status = await sandbox.run(argv, uid=job.uid, cwd=job.app, env=env, on_line=last)
    if status == 0:
        return
    if any(REFUSED in line for line in last.texts):
        raise BuildFailed(f"{FILE} asks for what would have to be run to be installed; {_WHEELS_ONLY}.")
    error = installers.tool_error("pip", last.texts, status)
    if _NOT_FOUND in error:
        error = f"{error.rstrip('.')}; {_WHEELS_ONLY}."
    raise BuildFailed(error)


def _without_sdk(text: str) -> str:
    """The lines but those for the SDK and its tools, which the builder brings along in versions that fit."""
    own = ("spin-sdk", "spin_sdk", "componentize-py", "componentize_py", "mypy")
    kept = []
    for line in libraries.requirement_lines(text):
        name = line.lower()
        brought = any(name.startswith(one) and not name[len(one) :][:1].isalnum() for one in own)
        if not brought or name[:1] == "-":
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def _lay_out(job: Job, texts: Mapping[str, str], out: Path) -> None:
    installers.make_writable(out, job.uid)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")


def _text_beside(path: Path) -> str | None:
    return path.read_text("utf-8-sig", errors="replace") if path.is_file() else None
