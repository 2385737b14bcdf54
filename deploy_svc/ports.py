"""What deploy_svc needs of the outside world."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from deploy_svc.domain import LogStream, Target, Workload


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """An instance to start. `slot` is the function's own small number, 0 and up: its user id is made of it."""

    uid: str
    workload: Workload
    slot: int
    instances: int = 1


@dataclass(frozen=True, slots=True)
class Started:
    """Where a started instance is: a handle for people (pid or container id), an address for requests."""

    handle: str
    address: str


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Exit:
    """How an instance ended: exit code, or the signal that killed it, or neither where nobody saw it."""

    code: int | None = None
    signal: int = 0
    out_of_memory: bool = False
    detail: str = ""

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        if self.out_of_memory:
            return self.detail or "It used more memory than its limit and was killed."
        if self.signal:
            return self.detail or f"It was killed by signal {self.signal}{_signal_name(self.signal)}."
        if self.code is None:
            return "It ended while nobody was watching."
        return f"It exited with code {self.code}."


@dataclass(frozen=True, slots=True)
class Observed:
    """An instance that the driver holds something of; `exit` is None while it runs."""

    instance: str
    handle: str
    address: str
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class OutputLine:
    """One line an instance wrote, without its end. `position` resumes after it; `stream` None is not known."""

    text: bytes
    position: int
    stream: LogStream | None = None
    written_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """Whether a target can be used; the message is its version, or why not and what to do."""

    available: bool
    message: str


class Written(Protocol):
    """Has the output of instances."""

    def output(self, instance: str, position: int) -> AsyncIterator[Sequence[OutputLine]]:
        """Lines after a position (0: all), as they come; ends once the instance has and all was read."""
        ...


class Driver(Protocol):
    """Runs instances of one target. Every call may be repeated; Unavailable says that nothing was half made."""

    target: Target

    async def check(self) -> TargetHealth:
        """Whether instances can be started now."""
        ...

    async def start(self, spec: InstanceSpec) -> Started:
        """Start an instance; the same one twice is started once.

        Raises Unavailable (the target does not answer: try later) and FailedPrecondition (it cannot run here).
        """
        ...

    async def observe(self) -> Mapping[str, Observed]:
        """Every instance of this mesh that the target holds, by its identifier. Raises Unavailable."""
        ...

    async def stop(self, instance: str, grace_s: float) -> None:
        """Ask it to end, kill it after the grace; on return nothing of it runs. Raises Unavailable."""
        ...

    async def remove(self, instance: str) -> None:
        """Forget a stopped instance: its container or directory and its output. Raises Unavailable."""
        ...

    def output(self, instance: str, position: int) -> AsyncIterator[Sequence[OutputLine]]:
        """Lines after a position (0: all), as they come; ends once the instance has and all was read."""
        ...

    async def keep_artifacts(self, digests: frozenset[str]) -> None:
        """Delete working copies of all other artifacts that no instance uses."""
        ...

    async def forget(self, function: str) -> None:
        """A function was deleted and has no instance: delete the data it kept here. Raises Unavailable."""
        ...

    async def vacate(self) -> None:
        """All instances are gone and the mesh ends: remove what they shared. Raises Unavailable."""
        ...

    async def run(self) -> None:
        """What the driver does beside the calls (watching memory, events); until cancelled."""
        ...


@runtime_checkable
class Adopting(Protocol):
    """A driver of which a predecessor leaves more than the target itself tells."""

    async def adopt(self) -> None:
        """Take over what is there; called once, before all else, by the process that leads."""
        ...


class Registry(Protocol):
    """The registry as deploy_svc uses it."""

    async def workload(self, function_uid: str, revision: int) -> Workload:
        """What an instance of the revision needs. Raises NotFound, FailedPrecondition, Unavailable."""
        ...

    async def report(self, report: Report) -> None:
        """Tell how a deployment is. Raises Unavailable."""
        ...

    async def report_deleted(self, function_uid: str) -> None:
        """Tell that nothing is left of a deleted function. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """How the deployment of a function is: `version` is the registry's that it answers, `number` our own count."""

    function_uid: str
    version: int
    number: int
    state: str
    message: str


class Prober(Protocol):
    """Asks an instance whether it is ready."""

    async def ready(self, address: str, timeout_s: float, *, asks: bool = True) -> Readiness:
        """Its answer; never raises for an instance that does not answer. Without `asks` it need only listen."""
        ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """`ready`, or `failed` for good with the reason (its code could not be loaded), or neither: not yet."""

    ready: bool = False
    failed: bool = False
    message: str = ""
