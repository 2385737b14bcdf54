"""Domain types and the messages of the API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from deploy_svc.domain import (
    IDLE_TTL_S,
    Artifact,
    ArtifactKind,
    ClusterSettings,
    DeploymentState,
    Function,
    Instance,
    InstanceState,
    Limits,
    LogLine,
    LogStream,
    Runtime,
    Target,
    Workload,
)
from deploy_svc.store import Desired
from fnmesh.deploy.v1 import deployment_pb2 as pb
from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as endpoint_pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.registry.v1 import function_pb2, revision_pb2
from mesh.errors import FailedPrecondition

TARGETS = {
    Target.PROCESS: function_pb2.TARGET_PROCESS,
    Target.DOCKER: function_pb2.TARGET_DOCKER,
    Target.SPIN: function_pb2.TARGET_SPIN,
    Target.KUBERNETES: function_pb2.TARGET_KUBERNETES,
}
STATES = {
    DeploymentState.NONE: function_pb2.DEPLOYMENT_STATE_UNSPECIFIED,
    DeploymentState.PENDING: function_pb2.DEPLOYMENT_STATE_PENDING,
    DeploymentState.STARTING: function_pb2.DEPLOYMENT_STATE_STARTING,
    DeploymentState.READY: function_pb2.DEPLOYMENT_STATE_READY,
    DeploymentState.IDLE: function_pb2.DEPLOYMENT_STATE_READY,  # it answers, only later: no news for callers
    DeploymentState.DEGRADED: function_pb2.DEPLOYMENT_STATE_DEGRADED,
    DeploymentState.FAILED: function_pb2.DEPLOYMENT_STATE_FAILED,
    DeploymentState.STOPPED: function_pb2.DEPLOYMENT_STATE_STOPPED,
}
INSTANCE_STATES = {
    InstanceState.STARTING: pb.INSTANCE_STATE_STARTING,
    InstanceState.READY: pb.INSTANCE_STATE_READY,
    InstanceState.DRAINING: pb.INSTANCE_STATE_DRAINING,
    InstanceState.STOPPED: pb.INSTANCE_STATE_STOPPED,
    InstanceState.FAILED: pb.INSTANCE_STATE_FAILED,
}
STREAMS = {
    LogStream.STDOUT: pb.LOG_STREAM_STDOUT,
    LogStream.STDERR: pb.LOG_STREAM_STDERR,
    LogStream.SYSTEM: pb.LOG_STREAM_SYSTEM,
}
_TARGETS = {number: target for target, number in TARGETS.items()}
_RUNTIMES = {
    function_pb2.RUNTIME_PYTHON: Runtime.PYTHON,
    function_pb2.RUNTIME_NODE: Runtime.NODE,
    function_pb2.RUNTIME_SPIN: Runtime.SPIN,
    function_pb2.RUNTIME_IMAGE: Runtime.IMAGE,
}
_KINDS = {
    revision_pb2.ARTIFACT_KIND_IMAGE: ArtifactKind.IMAGE,
    revision_pb2.ARTIFACT_KIND_TREE: ArtifactKind.TREE,
    revision_pb2.ARTIFACT_KIND_WASM: ArtifactKind.WASM,
}
_DEFAULT_LIMITS = Limits(memory_bytes=256 << 20, cpu_millis=1000, timeout_ms=30_000, concurrency=10)


def to_desired(snapshot: internal_pb.FunctionSnapshot) -> Desired:
    """What the registry wants, of its snapshot."""
    function = snapshot.function
    scaling = function.scaling
    return Desired(
        uid=function.uid,
        name=function.name,
        display_name=function.display_name,
        version=snapshot.version,
        revision=snapshot.serving_revision_number,
        running=function.running,
        min_instances=scaling.min_instances if scaling.HasField("min_instances") else 1,
        target=_TARGETS.get(function.target, Target.PROCESS),
        deleted=snapshot.deleted,
        traceparent=snapshot.traceparent,
        idle_ttl_s=scaling.idle_ttl.ToMilliseconds() / 1000 or IDLE_TTL_S,
        max_instances=scaling.max_instances,
        cluster=to_cluster_settings(function.cluster),
    )


def to_cluster_settings(message: function_pb2.ClusterSettings) -> ClusterSettings:
    """How the function is to be run on a cluster."""
    return ClusterSettings(
        context=message.context,
        namespace=message.namespace,
        app_name=message.app_name,
        service_account=message.service_account,
        use_spot=message.use_spot,
        autoscaling=message.autoscaling,
        image_pull_secrets=tuple(message.image_pull_secrets),
    )


def to_workload(function_uid: str, answer: internal_pb.GetWorkloadResponse) -> Workload:
    """What an instance needs. Raises FailedPrecondition (NOT_BUILT) for a revision without an artifact."""
    revision = answer.revision
    kind = _KINDS.get(revision.artifact.kind)
    runtime = _RUNTIMES.get(revision.runtime)
    if kind is None or runtime is None:
        raise FailedPrecondition("NOT_BUILT", f"Revision {revision.number} has nothing that could be started.")
    artifact = revision.artifact
    return Workload(
        function_uid=function_uid,
        function_name=answer.function_display_name,
        revision=revision.number,
        runtime=runtime,
        target=_TARGETS.get(revision.target, Target.PROCESS),
        artifact=Artifact(artifact.digest, kind, artifact.reference, artifact.size_bytes, artifact.entry_file),
        limits=to_limits(revision.limits),
        handler=answer.handler or "handler",
        event_format="body" if answer.event_format == function_pb2.EVENT_FORMAT_BODY else "v2",
        env={**answer.env, **answer.secrets},
        secret_names=frozenset(answer.secrets),
    )


def to_limits(limits: function_pb2.Limits) -> Limits:
    """The limits, defaults filled in."""
    return Limits(
        memory_bytes=limits.memory_bytes or _DEFAULT_LIMITS.memory_bytes,
        cpu_millis=limits.cpu_millis or _DEFAULT_LIMITS.cpu_millis,
        timeout_ms=limits.timeout.ToMilliseconds() or _DEFAULT_LIMITS.timeout_ms,
        concurrency=limits.concurrency or _DEFAULT_LIMITS.concurrency,
    )


def from_function(function: Function, instances: Sequence[Instance]) -> pb.Deployment:
    """The deployment of a function."""
    ready = {i.revision for i in instances if i.state is InstanceState.READY}
    return pb.Deployment(
        name=f"{function.name}/deployment",
        function=function.name,
        state=STATES[function.state],
        message=function.message,
        desired_revision=function.revision if function.wanted_instances else 0,
        ready_revisions=sorted(ready),
        instances=[from_instance(one) for one in instances],
        update_time=timestamp(function.changed_at),
        version=function.deployment_version,
    )


def from_instance(instance: Instance) -> pb.Instance:
    """An instance as people see it."""
    return pb.Instance(
        uid=instance.uid,
        revision=instance.revision,
        state=INSTANCE_STATES[instance.state],
        target=TARGETS[instance.target],
        start_time=timestamp(instance.created_at),
        handle=instance.handle.partition("@")[0],
        message=instance.message or instance.retired,
    )


def from_line(line: LogLine) -> pb.LogEntry:
    """A log line."""
    return pb.LogEntry(
        sequence=line.sequence,
        write_time=timestamp(line.written_at),
        text=line.text,
        stream=STREAMS[line.stream],
        instance=line.instance,
        revision=line.revision,
        trace_id=line.trace_id,
    )


def to_endpoint(instance: Instance) -> endpoint_pb.Endpoint:
    """Where an instance that is READY or DRAINING can be reached."""
    return endpoint_pb.Endpoint(
        instance=instance.uid,
        function_uid=instance.function_uid,
        revision_number=instance.revision,
        address=instance.address,
        concurrency=instance.concurrency,
        timeout_ms=instance.timeout_ms,
        accepting=instance.state is InstanceState.READY,
        version=instance.version,
        ready_time=timestamp(instance.ready_at),
    )


def timestamp(at: datetime | None) -> Timestamp | None:
    """A time for a message; None stays unset."""
    if at is None:
        return None
    message = Timestamp()
    message.FromDatetime(at)
    return message
