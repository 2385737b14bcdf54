"""What a deployment is made of: functions as desired, instances as they are, and how they may change.

Times are aware UTC datetimes. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class Target(StrEnum):
    """Where workloads run."""

    PROCESS = "process"
    DOCKER = "docker"
    SPIN = "spin"
    KUBERNETES = "kubernetes"


LOCAL_TARGETS = frozenset(Target) - {Target.KUBERNETES}
"""Those whose instances this mesh starts, probes and stops, and no cluster."""


class Runtime(StrEnum):
    """What a function's code is written for."""

    PYTHON = "python"
    NODE = "node"
    SPIN = "spin"
    IMAGE = "image"


class ArtifactKind(StrEnum):
    """What an artifact's reference names."""

    IMAGE = "image"
    TREE = "tree"
    WASM = "wasm"


class InstanceState(StrEnum):
    """How an instance is; `INSTANCE_MOVES` says what may follow."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


INSTANCE_MOVES: Mapping[InstanceState, frozenset[InstanceState]] = {
    InstanceState.STARTING: frozenset({InstanceState.READY, InstanceState.STOPPED, InstanceState.FAILED}),
    InstanceState.READY: frozenset({InstanceState.DRAINING, InstanceState.STOPPED, InstanceState.FAILED}),
    InstanceState.DRAINING: frozenset({InstanceState.STOPPED, InstanceState.FAILED}),
    InstanceState.STOPPED: frozenset(),
    InstanceState.FAILED: frozenset(),
}
IDLE_TTL_S = 300.0
LIVE_STATES = frozenset({InstanceState.STARTING, InstanceState.READY, InstanceState.DRAINING})


class DeploymentState(StrEnum):
    """How a function's deployment is, compared with what is wanted. IDLE: scaled to zero until somebody asks."""

    NONE = "none"
    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    IDLE = "idle"
    DEGRADED = "degraded"
    FAILED = "failed"
    STOPPED = "stopped"


class FailureKind(StrEnum):
    """Why there is an instance less: it never became ready, it ended by itself, or its target does not answer."""

    START = "start"
    CRASH = "crash"
    UNAVAILABLE = "unavailable"


class LogStream(StrEnum):
    """Which output a line was written to; `SYSTEM` is the platform itself."""

    STDOUT = "stdout"
    STDERR = "stderr"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How a function is run on a cluster; an empty text is the default of deploy_svc's settings or of the cluster."""

    context: str = ""
    namespace: str = ""
    app_name: str = ""
    service_account: str = ""
    use_spot: bool = False
    autoscaling: bool = False
    image_pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A function as the registry wants it, and its deployment as last decided.

    `name` is the resource name by identifiers; `version` the registry's; `revision` 0 where none should serve;
    `last_ready_revision` the one that last had all its instances ready, 0 where none ever had; `traceparent` the
    call that decided what should run; `report_number` the version that the registry is to be told of,
    `reported_number` the one it acknowledged.
    """

    uid: str
    name: str
    display_name: str
    version: int
    revision: int
    running: bool
    min_instances: int
    target: Target
    deleted: bool = False
    state: DeploymentState = DeploymentState.NONE
    message: str = ""
    last_ready_revision: int = 0
    deployment_version: int = 0
    changed_at: datetime | None = None
    traceparent: str = ""
    idle_ttl_s: float = IDLE_TTL_S
    max_instances: int = 0
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    report_number: int = 0
    reported_number: int = 0

    @property
    def is_reported(self) -> bool:
        """Whether the registry shows the state too."""
        return self.reported_number >= self.report_number

    @property
    def workspace(self) -> str:
        """Identifier of its workspace, `ws-...`."""
        return self.name.split("/")[1]

    @property
    def was_ready(self) -> bool:
        """Whether the revision that is wanted now is the one that last had all its instances ready."""
        return self.last_ready_revision == self.revision

    @property
    def rolling_out(self) -> bool:
        """Whether what starts now is what somebody asked for, and not the replacement of what has ended."""
        if self.state is DeploymentState.STARTING:
            return not self.was_ready
        return self.state in (DeploymentState.NONE, DeploymentState.PENDING)

    @property
    def may_rest(self) -> bool:
        """Whether it may be scaled to zero: what serves has once been ready, and no instance has to be there."""
        return self.min_instances == 0 and self.was_ready

    @property
    def wanted_instances(self) -> int:
        """How many instances should answer while there are requests."""
        if self.deleted or not self.running or self.revision == 0:
            return 0
        return max(1, self.min_instances)


@dataclass(frozen=True, slots=True)
class Instance:
    """One copy of a revision. `retired` says why it must be replaced, empty where it need not be."""

    uid: str
    function_uid: str
    revision: int
    target: Target
    state: InstanceState
    created_at: datetime
    artifact: str = ""
    handle: str = ""
    address: str = ""
    concurrency: int = 0
    timeout_ms: int = 0
    ready_at: datetime | None = None
    draining_at: datetime | None = None
    drain_deadline: datetime | None = None
    ended_at: datetime | None = None
    retired: str = ""
    message: str = ""
    version: int = 0
    log_position: int = 0

    @property
    def live(self) -> bool:
        """Whether there may be a process or container of it."""
        return self.state in LIVE_STATES

    @property
    def is_ours(self) -> bool:
        """Whether this mesh starts, probes and stops it, and not a cluster."""
        return self.target in LOCAL_TARGETS

    @property
    def answers_probes(self) -> bool:
        """Whether it runs a server of the mesh; of all others only a connection is asked for."""
        return self.target is not Target.SPIN


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of a revision since it was last healthy for long enough."""

    revision: int
    count: int
    kind: FailureKind
    last_at: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of each instance: bytes, thousandths of a CPU, milliseconds, requests at once."""

    memory_bytes: int
    cpu_millis: int
    timeout_ms: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a build made: `reference` is a blob key (TREE) or an image id (IMAGE)."""

    digest: str
    kind: ArtifactKind
    reference: str
    size_bytes: int
    entry_file: str


@dataclass(frozen=True, slots=True)
class Workload:
    """All that an instance of a revision needs to run. `env`, the secrets among it, is in no repr; `secret_names` are
    the keys of those.
    """

    function_uid: str
    function_name: str
    revision: int
    runtime: Runtime
    target: Target
    artifact: Artifact
    limits: Limits
    handler: str
    event_format: str
    env: Mapping[str, str] = field(repr=False)
    secret_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an instance's output or of the platform about it; `sequence` is 0 until stored."""

    function_uid: str
    instance: str
    revision: int
    written_at: datetime
    stream: LogStream
    text: str
    trace_id: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """The times of the state machine, in seconds."""

    start_limit_s: float = 60.0
    drain_extra_s: float = 5.0
    healthy_reset_s: float = 30.0
    backoff_first_s: float = 0.2
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    unavailable_cap_s: float = 15.0


def may_follow(before: InstanceState, after: InstanceState) -> bool:
    """Whether an instance in `before` may come into `after`."""
    return after in INSTANCE_MOVES[before]


def drain_deadline(timeout_ms: int, now: datetime, policy: Policy) -> datetime:
    """When an instance that drains from `now` is stopped at the latest: its longest request, and a little."""
    return now + timedelta(milliseconds=timeout_ms, seconds=policy.drain_extra_s)


def retry_at(failures: Failures, policy: Policy) -> datetime:
    """When the next start may be tried: at once after a first crash, then twice as late each time."""
    if failures.count <= 1 and failures.kind is FailureKind.CRASH:
        return failures.last_at + timedelta(seconds=policy.backoff_first_s)
    cap = policy.unavailable_cap_s if failures.kind is FailureKind.UNAVAILABLE else policy.backoff_cap_s
    exponent = min(failures.count - 1, 32)
    return failures.last_at + timedelta(seconds=min(cap, policy.backoff_base_s * 2**exponent))
