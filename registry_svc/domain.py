"""What the registry knows, and which state may follow which. Pure.

The numbers of the enums are those of the API, so that they can be stored and sent as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, IntEnum, auto

SERVED_LIMIT = 50
DEFAULT_WORKSPACE = "ws-default"
EXAMPLE_NUMBERS = frozenset({1001, 1002})
"""Numbers that a function has only where it asks for one."""


class Runtime(IntEnum):
    """What a function's code is written for."""

    UNSPECIFIED, PYTHON, NODE, SPIN, IMAGE = range(5)


class Target(IntEnum):
    """Where a workload runs."""

    UNSPECIFIED, PROCESS, DOCKER, SPIN, KUBERNETES = range(5)


class EventFormat(IntEnum):
    """What an HTTP request looks like to the handler."""

    UNSPECIFIED, HTTP_V2, BODY = range(3)


class Access(IntEnum):
    """Who may call a function over HTTP."""

    UNSPECIFIED, PUBLIC, KEY = range(3)


class RevisionState(IntEnum):
    """PENDING -> BUILT | FAILED; a revision made by a change of settings begins BUILT."""

    UNSPECIFIED, PENDING, BUILT, FAILED = range(4)


class DeploymentState(IntEnum):
    """What deploy_svc last said is there. Set here only where nothing was there: PENDING, and STOPPED after it."""

    UNSPECIFIED, PENDING, STARTING, READY, DEGRADED, FAILED, STOPPED = range(7)


class ArtifactKind(IntEnum):
    """What kind of thing an artifact is."""

    UNSPECIFIED, IMAGE, TREE, WASM = range(4)


@dataclass(frozen=True)
class Workspace:
    """A group of functions."""

    uid: str
    display_name: str
    description: str
    create_time: datetime
    update_time: datetime
    etag: str


@dataclass(frozen=True)
class Limits:
    """Limits of each instance."""

    memory_bytes: int = 256 * 1024 * 1024
    cpu_millis: int = 1000
    timeout_ms: int = 30_000
    concurrency: int = 10


@dataclass(frozen=True)
class Scaling:
    """How many instances there are, and how long one without requests is kept where the fewest is none."""

    min_instances: int = 1
    max_instances: int = 1
    idle_ttl_ms: int = 300_000


@dataclass(frozen=True)
class Cluster:
    """How a function is run on a Kubernetes cluster; what is empty is left to deploy_svc."""

    context: str = ""
    namespace: str = ""
    app_name: str = ""
    service_account: str = ""
    use_spot: bool = False
    autoscaling: bool = False
    image_pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunSettings:
    """What a revision freezes: with an artifact, all that its instances need to run."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: Limits = field(default_factory=Limits)
    handler: str = "handler"
    event_format: EventFormat = EventFormat.HTTP_V2


@dataclass(frozen=True)
class Spec:
    """What people say of a function."""

    display_name: str
    path: str
    description: str = ""
    methods: tuple[str, ...] = ()
    runtime: Runtime = Runtime.UNSPECIFIED
    target: Target = Target.UNSPECIFIED
    run: RunSettings = field(default_factory=RunSettings)
    scaling: Scaling = field(default_factory=Scaling)
    access: Access = Access.PUBLIC
    labels: Mapping[str, str] = field(default_factory=dict)
    invocation_url: str = ""
    """Where direct invokes go while nothing is deployed."""
    cluster: Cluster = field(default_factory=Cluster)


@dataclass(frozen=True)
class Function:
    """A function. `serving` is the number of the revision that should serve, 0 for none."""

    uid: str
    workspace_uid: str
    spec: Spec
    create_time: datetime
    update_time: datetime
    etag: str = ""
    version: int = 0
    serving: int = 0
    running: bool = False
    served: tuple[int, ...] = ()
    """The revisions that served, a stack: a rollback takes the top off, everything else puts one on."""
    latest_number: int = 0
    """Number of its newest revision, 0 for none."""
    settled_number: int = 0
    """Builds of revisions up to this number do not deploy themselves any more: somebody decided otherwise."""
    outdated_number: int = 0
    """Revisions up to this number froze settings that were changed since, while none served."""
    deployment_state: DeploymentState = DeploymentState.UNSPECIFIED
    deployment_message: str = ""
    report_version: int = 0
    delete_time: datetime | None = None
    number: int = 0
    """What older callers know it by; 0 outside the default workspace."""
    source_digest: str = ""
    """What the next build takes where it names none."""
    traceparent: str = ""
    """The call that last decided what should run, so that what follows from it is in its trace; empty for none."""


@dataclass(frozen=True)
class Artifact:
    """What a build made."""

    digest: str
    kind: ArtifactKind
    reference: str
    size_bytes: int
    entry_file: str


@dataclass(frozen=True)
class Revision:
    """An artifact (once built) and the settings it runs under."""

    function_uid: str
    number: int
    state: RevisionState
    run: RunSettings
    code_number: int
    """Number of the revision whose build made the artifact: its own, unless only settings changed."""
    create_time: datetime
    runtime: Runtime
    target: Target
    artifact: Artifact | None = None
    build_uid: str = ""
    deploy: bool = False
    """Deploy it once it is built."""
    error: str = ""


@dataclass(frozen=True)
class Secret:
    """That a function has a secret; its value is not here."""

    function_uid: str
    key: str
    set_time: datetime


@dataclass(frozen=True)
class ApiKey:
    """An API key; its secret is not kept."""

    key_id: str
    display_name: str
    scopes: tuple[int, ...]
    workspace_uid: str
    secret_hash: bytes = field(repr=False)
    create_time: datetime
    expire_time: datetime | None = None
    revoke_time: datetime | None = None

    def good_at(self, now: datetime) -> bool:
        """Whether its holder is let in."""
        return self.revoke_time is None and (self.expire_time is None or now < self.expire_time)


def methods_overlap(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Whether a request could be meant for both; no methods means all of them."""
    return not left or not right or not set(left).isdisjoint(right)


def next_number(last: int) -> int:
    """The number after `last` that nobody may ask for."""
    number = last + 1
    while number in EXAMPLE_NUMBERS:
        number += 1
    return number


def serve(function: Function, number: int) -> Function:
    """The function with that revision serving; on top of the stack of those that served."""
    served = function.served if function.served[-1:] == (number,) else (*function.served, number)
    return replace(_wanting(function, number), running=True, served=served[-SERVED_LIMIT:])


def adopt(function: Function, number: int) -> Function:
    """The function with a revision of changed settings in place of the one that served; not started by that."""
    adopted = serve(function, number)
    return adopted if function.running else replace(adopted, running=False, deployment_state=function.deployment_state)


def settle(function: Function) -> Function:
    """Somebody decided what should run: builds that were begun before do not deploy themselves any more."""
    return replace(function, settled_number=function.latest_number)


def step_back(function: Function) -> Function | None:
    """The function with the revision that served before; None where there is none.

    Served 1, 2, 3: a rollback brings back 2, a second one 1, a third one finds none. Served 1, 2, 3, then
    back to 2, then 4 deployed: a rollback brings back 2.
    """
    if len(function.served) < 2:
        return None
    return replace(_wanting(function, function.served[-2]), running=True, served=function.served[:-1])


def restore(function: Function, revision: Revision, secret_keys: Collection[str] = ()) -> Function:
    """The function with the settings that the revision froze; what is a secret by now is env no more."""
    return replace(function, spec=replace(function.spec, run=without_env(revision.run, secret_keys)))


def without_env(run: RunSettings, keys: Collection[str]) -> RunSettings:
    """The settings without these env keys."""
    return replace(run, env={key: value for key, value in run.env.items() if key not in keys})


def stop(function: Function) -> Function:
    """The function with nothing that should run."""
    if not function.running:
        return function
    if function.deployment_state is DeploymentState.PENDING:
        function = replace(function, deployment_state=DeploymentState.STOPPED)
    return replace(function, running=False)


def _wanting(function: Function, number: int) -> Function:
    """The function with that revision wanted.

    Where something is there already, only deploy_svc says what becomes of it: two changes that cancel each
    other out before it looks bring no report, and a PENDING set here would stay.
    """
    function = replace(function, serving=number)
    if function.deployment_state in (DeploymentState.UNSPECIFIED, DeploymentState.STOPPED):
        function = replace(function, deployment_state=DeploymentState.PENDING, deployment_message="")
    return function


def decided(before: Function, after: Function, traceparent: str) -> Function:
    """`after`, decided by that call where it changed what should run."""
    same = ("serving", "running", "delete_time")
    if all(getattr(before, name) == getattr(after, name) for name in same):
        return after
    return replace(after, traceparent=traceparent)


def with_spec(function: Function, spec: Spec, *, defer: bool) -> Function:
    """The function with other settings. Where nothing serves yet, builds under way will take them."""
    outdated = function.outdated_number
    if not defer and not function.serving and spec.run != function.spec.run:
        outdated = function.latest_number
    return replace(function, spec=spec, outdated_number=outdated)


def delete(function: Function, now: datetime) -> Function:
    """The function as a tombstone: nothing runs, and its secrets are gone."""
    run = replace(function.spec.run, env={})
    return replace(function, spec=replace(function.spec, run=run), running=False, delete_time=now)


def next_revision(function: Function, revision: Revision, run: RunSettings, now: datetime) -> Revision:
    """A revision of the same artifact under other settings; it begins BUILT."""
    return replace(
        revision,
        number=function.latest_number + 1,
        run=run,
        build_uid="",
        deploy=False,
        create_time=now,
        error="",
    )


class Rollout(Enum):
    """What a finished build does to what serves."""

    NONE = auto()
    """Nothing: not asked for, overtaken by newer code, or by somebody's decision."""
    SERVE = auto()
    """The revision serves."""
    MERGE = auto()
    """Settings were changed while it was built: a new revision of its code with those settings serves."""


def rollout_after_build(function: Function, revision: Revision, serving: Revision | None) -> Rollout:
    """What becomes of a revision that has just been built. `serving` is what serves now.

    Code never goes back by itself: a build that ends after a later one does not displace it.
    """
    if not revision.deploy or revision.number <= function.settled_number:
        return Rollout.NONE
    if serving is None:
        return Rollout.MERGE if revision.number <= function.outdated_number else Rollout.SERVE
    if revision.code_number <= serving.code_number:
        return Rollout.NONE
    return Rollout.MERGE if serving.number > revision.number else Rollout.SERVE
