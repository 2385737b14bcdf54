"""What a script is, and what a target has to do with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from deploy_svc.ports import Exit

Language = Literal["python", "node"]
SUFFIXES: Mapping[Language, str] = {"python": "py", "node": "js"}
EVENT_VARIABLE_BYTES = 64 * 1024
"""Linux takes no environment variable of more than 128 KiB; a larger event is on standard input only."""
LINE_BYTES = 64 * 1024
"""A longer line is cut into several."""


@dataclass(frozen=True, slots=True)
class ScriptSpec:
    """A run of a script. `run` names it, `env` is in no repr."""

    run: str
    language: Language
    code: bytes
    event: bytes
    memory_bytes: int
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def file(self) -> str:
        """Name of the file with its code."""
        return f"script.{SUFFIXES[self.language]}"

    def variables(self) -> dict[str, str]:
        """Its environment: what it was given, and the event if it fits."""
        event = {} if len(self.event) > EVENT_VARIABLE_BYTES else {"FNMESH_EVENT": self.event.decode()}
        return {**self.env, **event}


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """A line it printed."""

    stderr: bool
    text: bytes
    written_at: datetime


class RunningScript(Protocol):
    """A script that was started."""

    handle: str

    def output(self) -> AsyncIterator[Sequence[ScriptLine]]:
        """Lines as they come; ends once it has ended and all was read."""
        ...

    @property
    def exit(self) -> Exit:
        """How it ended; known when its output has."""
        ...


class ScriptTarget(Protocol):
    """A place where scripts run."""

    def running(self, spec: ScriptSpec) -> AbstractAsyncContextManager[RunningScript]:
        """The script, for as long as the context lasts: on leaving it nothing of it runs or is kept.

        Raises Unavailable (nothing was begun) and FailedPrecondition (it cannot run here).
        """
        ...

    async def sweep(self) -> None:
        """Ends and removes all that a process that was killed left of its scripts. Raises Unavailable."""
        ...
