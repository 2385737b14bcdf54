"""What a build is, which state may follow which, and what an artifact is named by. Pure: no I/O, no clock."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

BUILDER_VERSION = "1"
"""Part of every artifact's key: raise it when the same source would come out differently."""

MAX_ATTEMPTS = 3
IMAGE_TARGET = "Only the target kubernetes runs an image as it is; use that target, or deploy a source."
LINE_BYTES_MAX = 16 * 1024
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class BuildFailed(Exception):
    """The build cannot succeed, whoever tries again; the text is one sentence for its author."""


class BuildState(StrEnum):
    """How far a build is. DONE, FAILED and CANCELLED are final."""

    PENDING = "PENDING"
    BUILDING = "BUILDING"
    PUSHING = "PUSHING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self in FINAL_STATES


FINAL_STATES = frozenset({BuildState.DONE, BuildState.FAILED, BuildState.CANCELLED})
_FOLLOWS: Mapping[BuildState, frozenset[BuildState]] = {
    BuildState.PENDING: frozenset({BuildState.BUILDING, BuildState.FAILED, BuildState.CANCELLED}),
    BuildState.BUILDING: frozenset({BuildState.PUSHING, BuildState.DONE, BuildState.FAILED, BuildState.CANCELLED}),
    BuildState.PUSHING: frozenset({BuildState.DONE, BuildState.FAILED, BuildState.CANCELLED}),
}


def may_follow(now: BuildState, following: BuildState) -> bool:
    """Whether a build may go from `now` to `following`; nothing follows a final state."""
    return following in _FOLLOWS.get(now, frozenset())


class Stage(StrEnum):
    """A step of a build, in the order they come."""

    UNPACK = "UNPACK"
    CHECK = "CHECK"
    INSTALL = "INSTALL"
    ASSEMBLE = "ASSEMBLE"
    COMPONENTIZE = "COMPONENTIZE"
    VALIDATE = "VALIDATE"
    COMPILE = "COMPILE"
    PUSH = "PUSH"
    PUBLISH = "PUBLISH"


Spans = Mapping[Stage, tuple[int, int]]
"""From which percent of the whole build to which each of its stages goes."""
SPANS: Spans = {
    Stage.UNPACK: (0, 5),
    Stage.CHECK: (5, 10),
    Stage.INSTALL: (10, 75),
    Stage.ASSEMBLE: (75, 90),
    Stage.COMPONENTIZE: (10, 50),
    Stage.VALIDATE: (50, 51),
    Stage.COMPILE: (51, 90),
    Stage.PUSH: (90, 99),
    Stage.PUBLISH: (90, 99),
}


def percent_of(stage: Stage, done: float = 0.0, spans: Spans = SPANS) -> int:
    """Percent of the whole build when `done` (0 to 1) of `stage` is behind it; 100 is for the final state."""
    first, last = spans[stage]
    return first + int((last - first) * min(max(done, 0.0), 1.0))


def spans_of(durations_s: Mapping[Stage, float], spans: Spans = SPANS) -> Spans:
    """Spans for a build whose stages take so long, in this order: each its share of 5 to 99, those of `spans` else."""
    total = sum(durations_s.values()) or 1.0
    first, last = spans[Stage.UNPACK][1], spans[Stage.PUSH][1]
    found, behind = dict(spans), 0.0
    for stage, duration_s in durations_s.items():
        begins = first + round((last - first) * behind / total)
        behind += duration_s
        found[stage] = (begins, first + round((last - first) * behind / total))
    return found


class Runtime(StrEnum):
    """What a source is written for; the value is the runtimes' own name of it."""

    PYTHON = "python"
    NODE = "node"
    SPIN = "spin"


def server_of(runtime: Runtime) -> Literal["python", "node"]:
    """The name of the server that runs handlers of the runtime; components have none."""
    assert runtime is not Runtime.SPIN
    return "node" if runtime is Runtime.NODE else "python"


class Target(StrEnum):
    """Where the workload will run, as far as this service builds for it."""

    PROCESS = "process"
    DOCKER = "docker"
    SPIN = "spin"
    KUBERNETES = "kubernetes"


class ArtifactKind(StrEnum):
    """What kind of thing an artifact is, and so who looks after it: the API knows one kind of image only."""

    IMAGE = "IMAGE"
    """Of the Docker daemon."""
    TREE = "TREE"
    WASM = "WASM"
    CLUSTER_IMAGE = "CLUSTER_IMAGE"
    """Of a registry, made and pushed by a build."""
    GIVEN_IMAGE = "GIVEN_IMAGE"
    """Of a registry, somebody else's."""


@dataclass(frozen=True)
class Artifact:
    """What a build made: `digest` says what went into it, `reference` (image id or digest, blob key) where it is."""

    digest: str
    kind: ArtifactKind
    reference: str
    size_bytes: int
    entry_file: str


@dataclass(frozen=True)
class Source:
    """An uploaded source. `digest` names it in the API, `blob_key` its bytes in the blob store."""

    digest: str
    blob_key: str
    filename: str
    is_zip: bool
    size_bytes: int
    runtime: Runtime | None
    entry_file: str


@dataclass(frozen=True)
class Live:
    """Digests of what functions and their revisions refer to."""

    artifacts: frozenset[str]
    sources: frozenset[str]


@dataclass(frozen=True)
class FunctionFacts:
    """What of a function matters to a build. `runtime` and `target` are empty where the function names none, and
    the API's own names where this service does not build for them."""

    name: str
    uid: str
    runtime: str
    target: str
    handler: str
    source_digest: str = ""
    """What it is built from where a build names nothing; empty for none."""

    @property
    def workspace(self) -> str:
        """Identifier of its workspace, `ws-...`."""
        return self.name.split("/")[1]


def runtime_for(function: FunctionFacts, found: Runtime | None) -> Runtime | None:
    """What a source is built for: what its function says, else what it looks like."""
    if function.runtime in set(Runtime):
        return Runtime(function.runtime)
    return Runtime.SPIN if function.target == Target.SPIN else found


@dataclass(frozen=True)
class Push:
    """Where what is made is pushed to, and by whom; the password is apart. `image` and `digest` are what it was pushed
    as, empty before."""

    repository: str
    tag: str = ""
    username: str = ""
    image: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Build:
    """One build as stored. Resource names are by identifier; empty strings stand for what is not known yet."""

    uid: str
    function: str
    function_uid: str
    source_digest: str
    deploy: bool
    state: BuildState
    create_time: datetime
    revision: str = ""
    runtime: str = ""
    target: str = ""
    handler: str = "handler"
    percent: int = 0
    stage: Stage | None = None
    cached: bool = False
    artifact: Artifact | None = None
    error: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    last_sequence: int = 0
    trace_id: str = ""
    traceparent: str = ""
    attempts: int = 0
    cancel_requested: bool = False
    reported: bool = False
    push: Push | None = None
    image: str = ""
    """What is run as it is, by digest; nothing is built then."""

    @property
    def pushed_only(self) -> bool:
        """Whether what it makes goes to somebody's registry, and is run by nobody here."""
        return self.push is not None and not self.deploy

    @property
    def name(self) -> str:
        return f"{self.function}/builds/{self.uid}"

    @property
    def workspace(self) -> str:
        """Identifier of its workspace, `ws-...`."""
        return self.function.split("/")[1]


@dataclass(frozen=True)
class Progress:
    """A stage began, or got further."""

    stage: Stage
    percent: int


@dataclass(frozen=True)
class LogLine:
    """The builder wrote a line."""

    stage: Stage
    text: str


@dataclass(frozen=True)
class StateChange:
    """The build came into another state; `build` is how it was then."""

    build: Build


Happening = Progress | LogLine | StateChange


@dataclass(frozen=True)
class Event:
    """A happening with its number; the numbers of a build have no gaps and begin with 1."""

    sequence: int
    time: datetime
    what: Happening


def after(build: Build, happening: Progress | LogLine) -> Build:
    """The build as it is after a happening; its percent never goes back."""
    if isinstance(happening, LogLine):
        return build
    return replace(build, stage=happening.stage, percent=max(build.percent, happening.percent))


def log_text(raw: bytes | str) -> str:
    """A builder's line as it is kept: without its end, what a carriage return wiped out, and passwords in addresses.

    At most 16 KiB.
    """
    data = raw.encode("utf-8", "replace") if isinstance(raw, str) else raw
    line = data.rstrip(b"\r\n").rpartition(b"\r")[2].replace(b"\0", b"")
    if len(line) > LINE_BYTES_MAX:
        line = line[: LINE_BYTES_MAX - 4]
        return _CREDENTIALS.sub("****", line.decode("utf-8", "ignore")) + "…"
    text = _CREDENTIALS.sub("****", line.decode("utf-8", "replace"))
    while len(text.encode()) > LINE_BYTES_MAX:  # replacement characters are longer than what they replace
        text = text[: len(text) * 3 // 4]
    return text


def artifact_digest(parts: Mapping[str, str]) -> str:
    """Name of the artifact that `parts` determine: sha256 over their sorted JSON."""
    return digest_of(json.dumps(dict(parts), sort_keys=True, separators=(",", ":")))


def digest_of(text: str) -> str:
    """`sha256:` and 64 hex digits over the UTF-8 of `text`."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def file_source_digest(filename: str, content_sha256_hex: str) -> str:
    """Name of a single-file source: two files of the same bytes and different names are different sources."""
    return digest_of(f"file\0{filename}\0{content_sha256_hex}")


def retry_delay_s(failures: int) -> float:
    """How long to wait before the next try of something that failed `failures` times: 0.5 s doubling to 30 s."""
    return float(min(30.0, 0.5 * 2 ** min(max(failures - 1, 0), 10)))


def waiting_delay_s(waited_s: float) -> float:
    """How long to wait before the next try of a build that others have kept from going on since `waited_s` ago: a tenth
    of that, from 1 s to 30 s."""
    return min(30.0, max(1.0, waited_s / 10))
