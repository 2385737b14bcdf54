"""Reads the Dockerfiles that `runtimes.images` renders into what a container needs: files, a script, a configuration.

The images are not made by the daemon's classic builder: it keeps build arguments (an index's password, for one) in
the image's history, starts a container for each instruction, and can only be cancelled between its lines. The
templates stay the one description of the images; only the instructions that they use are known here.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

_CHANGES = frozenset({"EXPOSE", "ENTRYPOINT", "CMD", "LABEL", "WORKDIR", "USER"})
_IGNORED = frozenset({"FROM", "ARG"})


class RecipeInvalid(ValueError):
    """The Dockerfile uses an instruction that is not known here."""


@dataclass(frozen=True)
class Copy:
    """COPY: files of the context that match one of `patterns` (a directory ends with a slash), to `place`."""

    patterns: tuple[str, ...]
    place: str
    owner: int = 0


@dataclass(frozen=True)
class Layer:
    """One container's worth: files to put, then commands to run as `user` in `workdir`, then what to configure."""

    copies: tuple[Copy, ...] = ()
    commands: tuple[str, ...] = ()
    user: str = "0:0"
    workdir: str = "/"
    changes: tuple[str, ...] = field(default=())

    @property
    def script(self) -> str:
        """The commands as one shell script that stops at the first that fails."""
        return "".join(f"({command}) || exit\n" for command in self.commands)


def layers(dockerfile: str) -> list[Layer]:
    """The layers of a Dockerfile: a COPY after a RUN begins another one, as does another user's RUN."""
    found: list[Layer] = []
    layer = Layer()
    user, workdir = "0:0", "/"
    changes: dict[str, str] = {}
    for instruction, rest in _instructions(dockerfile):
        if instruction in _IGNORED:
            continue
        if layer.commands and (instruction == "COPY" or (instruction == "RUN" and layer.user != user)):
            found.append(replace(layer, changes=tuple(changes.values())))
            layer = Layer()
        if instruction == "COPY":
            layer = replace(layer, copies=(*layer.copies, _copy(rest)))
        elif instruction == "RUN":
            layer = replace(layer, commands=(*layer.commands, rest), user=user, workdir=workdir)
        elif instruction in _CHANGES:
            user = rest if instruction == "USER" else user
            workdir = rest if instruction == "WORKDIR" else workdir
            changes[rest if instruction in ("LABEL", "EXPOSE") else instruction] = f"{instruction} {rest}"
        else:
            raise RecipeInvalid(f"{instruction} is not an instruction that this builder knows")
    return [*found, replace(layer, changes=tuple(changes.values()))]


def placed(copy: Copy, names: Iterable[str]) -> dict[str, str]:
    """Which files of the context (relative names) go where (absolute names) by a COPY."""
    found: dict[str, str] = {}
    for name in names:
        for pattern in copy.patterns:
            if pattern.endswith("/"):
                if name.startswith(pattern):
                    found[name] = copy.place.rstrip("/") + "/" + name[len(pattern) :]
            elif fnmatch.fnmatchcase(name, pattern):
                into = copy.place.endswith("/")
                found[name] = copy.place + name.rpartition("/")[2] if into else copy.place
    return found


def _instructions(dockerfile: str) -> Iterable[tuple[str, str]]:
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            instruction, _, rest = line.strip().partition(" ")
            yield instruction.upper(), rest.strip()


def _copy(rest: str) -> Copy:
    words = shlex.split(rest)
    owner = 0
    while words and words[0].startswith("--"):
        option, _, value = words.pop(0).partition("=")
        if option != "--chown":
            raise RecipeInvalid(f"COPY {option} is not known to this builder")
        owner = int(value.partition(":")[0])
    *patterns, place = words
    return Copy(tuple(patterns), place, owner)
