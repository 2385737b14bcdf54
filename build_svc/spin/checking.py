"""mypy on the author's code: it reads the code and runs none of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from build_svc import installers, sandbox
from build_svc.domain import BuildFailed, log_text
from build_svc.lines import killed
from build_svc.ports import Job, Journal
from build_svc.spin.tools import Tools, mypy_arguments, mypy_configuration
from build_svc.toolchain import Toolchain

PREFIX = "MyPy validation failed: "
ERRORS_MAX = 50
_MISSING = ("import-not-found", "import-untyped")
_CHECK_MODULE = "fnmesh_component_check"
_CHECK = """\
from {module} import IncomingHandler
from spin_sdk.wit.exports import IncomingHandler as Wanted

handler: Wanted = IncomingHandler()
"""


@dataclass(frozen=True)
class Check:
    """What is checked: the module `entry_file` of the code in `app`, which may import from `packages`."""

    app: Path
    entry_file: str
    packages: Path | None
    python: str

    @property
    def module(self) -> str:
        return self.entry_file.removesuffix(".py").replace("/", ".")


async def check(
    what: Check, tools: Tools, toolchain: Toolchain, job: Job, journal: Journal, home: Path, limits: dict[str, int]
) -> str:
    """Why the code cannot be a component; empty where nothing is wrong. Raises BuildFailed where mypy cannot run."""
    place = job.scratch / "check"
    await asyncio.to_thread(_lay_out, what, tools, place, job.uid)
    lines: list[str] = []

    async def keep(raw: bytes) -> None:
        lines.append(raw.decode("utf-8", "replace"))

    arguments = mypy_arguments(what.python, place / "cache", place / "mypy.ini")
    env = {**await toolchain.environment(home), "MYPYPATH": _path(what, tools, place)}
    argv = tools.command("mypy", *arguments, what.entry_file, str(place / f"{_CHECK_MODULE}.py"))
    status = await sandbox.run(
        argv, uid=job.uid, cwd=what.app, env=env, on_line=keep, limits=limits, network=False, beside_others=True
    )
    errors, other = read_errors(lines)
    for error in errors:
        if not error.in_check:
            await journal.line(error.text)
    said = verdict(errors, what.entry_file)
    if not said and status not in (0, 1):
        why = log_text(other[-1]) if other else f"it ended with status {status} and said nothing; build again."
        raise BuildFailed(f"mypy could not check the code: {killed('mypy', status) or why}")
    return said


@dataclass(frozen=True)
class MypyError:
    """An error in the author's code, or in the few lines that say what a component needs (`in_check`)."""

    text: str
    in_check: bool


def read_errors(lines: Iterable[str]) -> tuple[list[MypyError], list[str]]:
    """The errors in the output of `mypy -O json` in the author's files, and the lines that are something else."""
    errors, other = [], []
    for line in lines:
        try:
            one = json.loads(line)
            file, number, severity = str(one["file"]), int(one["line"]), one["severity"]
        except (ValueError, KeyError, TypeError):
            other.append(line)
            continue
        if severity != "error":
            continue
        in_check = Path(file).stem == _CHECK_MODULE
        if not in_check and (file.startswith(("/", "../"))):
            continue  # of a library
        place = f"{file}:{number}" if number > 0 else file
        hint = "; is it in requirements.txt?" if one.get("code") in _MISSING else ""
        code = f"{hint}  [{one['code']}]" if one.get("code") else ""
        errors.append(MypyError(f"{place}: error: {one.get('message', '')}{code}", in_check))
    return errors, other


def verdict(errors: Sequence[MypyError], entry_file: str) -> str:
    """What is wrong, one error a line; empty where nothing is."""
    own = [error.text for error in errors if not error.in_check]
    if own:
        more = [f"... and {len(own) - ERRORS_MAX} more"] if len(own) > ERRORS_MAX else []
        return PREFIX + "\n".join([*own[:ERRORS_MAX], *more])
    if any("attr-defined" in error.text for error in errors):
        return no_handler(entry_file)
    if errors:
        return (
            f"IncomingHandler in {entry_file} does not handle requests: write `class IncomingHandler"
            "(http.IncomingHandler)` with `def handle_request(self, request)` in it (from spin_sdk import http)."
        )
    return ""


def no_handler(entry_file: str) -> str:
    """The sentence for code without the class that is looked for."""
    return f"{entry_file} has no IncomingHandler: define `class IncomingHandler(http.IncomingHandler)` in it."


def _path(what: Check, tools: Tools, place: Path) -> str:
    return ":".join(str(one) for one in (what.app, tools.sdk, what.packages, place) if one is not None)


def _lay_out(what: Check, tools: Tools, place: Path, uid: int | None) -> None:
    """The build's user gets a copy of the cache, for mypy writes to it."""
    installers.make_writable(place, uid)
    shutil.copytree(tools.mypy_cache, place / "cache")  # with the times of its files: mypy compares them
    for directory, _, files in os.walk(place / "cache"):
        for one in (Path(directory), *(Path(directory, file) for file in files)):
            one.chmod(0o755)
    (place / f"{_CHECK_MODULE}.py").write_text(_CHECK.format(module=what.module))
    (place / "mypy.ini").write_text(mypy_configuration(_tops(what.packages)))
    installers.give(place, uid)


def _tops(packages: Path | None) -> list[str]:
    """The names that can be imported from a directory of installed libraries."""
    if packages is None:
        return []
    names = {one.name.removesuffix(".py") for one in packages.iterdir() if one.is_dir() or one.suffix == ".py"}
    return sorted(name for name in names if name.isidentifier())
