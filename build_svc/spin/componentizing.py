"""componentize-py on the author's code, whose top level it runs: in a copy, as nobody, with limits, no network."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from build_svc import installers, sandbox, tree
from build_svc.domain import BuildFailed
from build_svc.lines import LastLines, killed
from build_svc.ports import Job, Journal
from build_svc.spin.checking import no_handler
from build_svc.spin.tools import Tools
from build_svc.toolchain import Toolchain

_WORLD = "spin-http"
_LINES_MAX = 500
_FRAME = re.compile(r'\s*File "/(\d+)/(.+)", line (\d+)')
_RAISED = re.compile(r"([A-Za-z_][\w.]*)(: .*)?")
_NO_HANDLER = re.compile(r"AttributeError: module '[\w.]+' has no attribute 'IncomingHandler'")
_OUTPUT_FULL = "write beyond capacity of MemoryOutputPipe"
_OUT_OF_MEMORY = ("memory allocation of", "Cannot allocate memory", "cannot allocate memory", "out of memory")


_WALL_FACTOR = 4


@dataclass(frozen=True)
class Limits:
    """What making one component may take: so many seconds of CPU time, and four times as many by the clock."""

    seconds: float
    memory_bytes: int

    @property
    def wall_s(self) -> float:
        """Code that sleeps takes no CPU time; a machine that does much else gives little of it."""
        return self.seconds * _WALL_FACTOR

    @property
    def as_rlimits(self) -> dict[str, int]:
        """Memory that can be written to counts, not what hosts set aside."""
        return {"DATA": self.memory_bytes, "CPU": max(1, round(self.seconds))}


@dataclass(frozen=True)
class Code:
    """Python code to make a component of: the module in `entry_file`, relative to the source.

    Its random numbers follow from `seed` while it is made, so that the same code makes the same component.
    """

    entry_file: str
    packages: Path | None
    seed: str

    @property
    def module(self) -> str:
        return self.entry_file.removesuffix(".py").replace("/", ".")


async def componentize(
    code: Code, tools: Tools, toolchain: Toolchain, limits: Limits, job: Job, journal: Journal
) -> Path:
    """The component, alone in a directory that is ours. Raises BuildFailed with a sentence for the author."""
    place = job.scratch / "componentize"
    packages = await asyncio.to_thread(_lay_out, job, place, code.packages)
    options = ("-w", _WORLD, "componentize", code.module, "-p", str(place / "app"))
    argv = tools.command("componentize-py", code.seed, *options)
    if packages is not None:
        argv += ["-p", str(packages)]
    argv += ["-o", str(place / "out" / "app.wasm")]
    env = {
        "PATH": toolchain.search_path(),
        "HOME": str(place),
        "TMPDIR": str(place / "tmp"),
        "LANG": "C.UTF-8",
        "VIRTUAL_ENV": str(tools.environment),
    }
    last = LastLines(journal.line, count=_LINES_MAX)
    try:
        async with asyncio.timeout(limits.wall_s):
            status = await sandbox.run(
                argv,
                uid=job.uid,
                cwd=place / "app",
                env=env,
                on_line=last,
                limits=limits.as_rlimits,
                network=False,
                beside_others=True,
            )
    except TimeoutError:
        raise BuildFailed(too_long(code.entry_file, limits)) from None
    if status != 0:
        raise BuildFailed(complaint(code, last.texts, status, limits))
    return await asyncio.to_thread(_taken_over, place / "out" / "app.wasm")


def complaint(code: Code, lines: Sequence[str], status: int, limits: Limits) -> str:
    """What went wrong, by the last lines that componentize-py wrote and its exit status."""
    text = "\n".join(lines)
    if status == -signal.SIGXCPU:
        return too_long(code.entry_file, limits)
    if _NO_HANDLER.search(text):
        return no_handler(code.entry_file)
    if _OUTPUT_FULL in text:
        return (
            f"The code at the top level of {code.entry_file} writes more than 10,000 bytes; it runs while the component"
            " is made: print in handle_request only."
        )
    place, raised = _raised(lines)
    if raised.startswith("MemoryError") or status == -signal.SIGABRT or any(one in text for one in _OUT_OF_MEMORY):
        where = f" ({place})" if place else ""
        return (
            f"The code at the top level of {code.entry_file}{where} wants more memory than the"
            f" {limits.memory_bytes // 2**20} MiB that making a component may take."
        )
    if raised:
        return f"The code at the top level of {code.entry_file} failed: {f'{place}: ' if place else ''}{raised}"
    if status < 0:
        return killed("Making the component", status)
    said = [line.strip() for line in lines if line.strip()]
    return f"componentize-py failed: {said[-1] if said else f'it ended with status {status}'}"


def too_long(entry_file: str, limits: Limits) -> str:
    """The sentence for code that does not come to an end."""
    return (
        f"Making the component took longer than its limit of {limits.seconds:g} s of CPU time ({limits.wall_s:g} s by"
        f" the clock) and was stopped: the code at the top level of {entry_file} runs while it is made, and has to come"
        " to an end."
    )


def _raised(lines: Sequence[str]) -> tuple[str, str]:
    """Where in the source the last exception came from (`app.py:3`), and what it said; empty where unknown.

    The source is the first directory on the guest's path, libraries are the second.
    """
    starts = [index for index, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if not starts:
        return "", ""
    place = ""
    for line in lines[starts[-1] + 1 :]:
        frame = _FRAME.match(line)
        if frame is not None:
            if frame[1] == "0":
                place = f"{frame[2]}:{frame[3]}"
        elif line and not line[0].isspace():
            return place, line if _RAISED.fullmatch(line) else ""
    return place, ""


def _lay_out(job: Job, place: Path, packages: Path | None) -> Path | None:
    """A copy of the code that the build's user may change: nobody looks at it again.

    Returns where the libraries are to be read: a copy, too, where the build's user could change the cached ones.
    """
    installers.make_writable(place, job.uid)
    shutil.copytree(job.app, place / "app", symlinks=True)
    for name in ("tmp", "out"):
        (place / name).mkdir()
    if job.uid is None and packages is not None:
        packages = Path(shutil.copytree(packages, place / "packages"))
    installers.give(place, job.uid)
    return packages


def _taken_over(path: Path) -> Path:
    if path.is_symlink() or not path.is_file():
        raise BuildFailed("componentize-py left no component.")
    tree.take_over(path.parent)
    return path
