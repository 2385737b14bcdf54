"""Between the API's messages and the domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.registry.v1 import api_key_pb2, function_pb2, revision_pb2, secret_pb2, workspace_pb2
from mesh.names import API_KEY, BUILD, FUNCTION, REVISION, SECRET, WORKSPACE, format_name
from registry_svc import cluster_rules, rules
from registry_svc.domain import (
    Access,
    ApiKey,
    Artifact,
    ArtifactKind,
    Cluster,
    EventFormat,
    Function,
    Limits,
    Revision,
    RevisionState,
    RunSettings,
    Runtime,
    Scaling,
    Secret,
    Spec,
    Target,
    Workspace,
)

E = TypeVar("E", bound=IntEnum)
CLUSTER_INSTANCES = 10
"""Most instances where a cluster changes their number and nothing is said."""


def to_timestamp(value: datetime | None) -> Timestamp | None:
    """A time as the API has it."""
    if value is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(value)
    return stamp


def from_timestamp(value: Timestamp) -> datetime:
    """A time of the API. InvalidArgument where it is out of range."""
    try:
        return value.ToDatetime(UTC)
    except (ValueError, OverflowError):
        rules.refuse("TIME_INVALID", "expire_time", "The time is out of range.")


def enum_of(kind: type[E], value: int, field: str) -> E:
    """A value of an enum. InvalidArgument where there is none with that number."""
    try:
        return kind(value)
    except ValueError:
        rules.refuse("ENUM_INVALID", field, f"{value} is not a value of {field}.")


def workspace_to_proto(workspace: Workspace, function_count: int = 0) -> workspace_pb2.Workspace:
    return workspace_pb2.Workspace(
        function_count=function_count,
        name=format_name(WORKSPACE, workspace.uid),
        uid=workspace.uid,
        display_name=workspace.display_name,
        description=workspace.description,
        create_time=to_timestamp(workspace.create_time),
        update_time=to_timestamp(workspace.update_time),
        etag=workspace.etag,
    )


def function_name(function: Function) -> str:
    """The resource name of a function, by identifiers."""
    return format_name(FUNCTION, function.workspace_uid, function.uid)


def limits_to_proto(limits: Limits) -> function_pb2.Limits:
    message = function_pb2.Limits(
        memory_bytes=limits.memory_bytes, cpu_millis=limits.cpu_millis, concurrency=limits.concurrency
    )
    message.timeout.FromMilliseconds(limits.timeout_ms)
    return message


def function_to_proto(function: Function, *, env: str = "masked") -> function_pb2.Function:
    """A function; its env values `masked`, `empty` or `revealed`."""
    spec = function.spec
    shown: Mapping[str, str] = spec.run.env
    if env != "revealed":
        shown = dict.fromkeys(spec.run.env, rules.MASKED if env == "masked" else "")
    name = function_name(function)
    return function_pb2.Function(
        name=name,
        uid=function.uid,
        display_name=spec.display_name,
        description=spec.description,
        path=spec.path,
        methods=spec.methods,
        runtime=int(spec.runtime),  # type: ignore[arg-type]
        target=int(spec.target),  # type: ignore[arg-type]
        env=shown,
        limits=limits_to_proto(spec.run.limits),
        scaling=scaling_to_proto(spec.scaling),
        event_format=int(spec.run.event_format),  # type: ignore[arg-type]
        access=int(spec.access),  # type: ignore[arg-type]
        handler=spec.run.handler,
        labels=spec.labels,
        serving_revision=f"{name}/revisions/{function.serving}" if function.serving else "",
        running=function.running,
        deployment_state=int(function.deployment_state),  # type: ignore[arg-type]
        deployment_message=function.deployment_message,
        create_time=to_timestamp(function.create_time),
        update_time=to_timestamp(function.update_time),
        etag=function.etag,
        delete_time=to_timestamp(function.delete_time),
        number=function.number,
        source_digest=function.source_digest,
        invocation_url=spec.invocation_url,
        cluster=function_pb2.ClusterSettings(**asdict(spec.cluster)) if spec.cluster != Cluster() else None,
    )


def snapshot_to_proto(
    function: Function, serving_limits: Limits | None, workspace_display_name: str
) -> internal_pb.FunctionSnapshot:
    """A function as the other services see it."""
    wanted = function.running and function.delete_time is None
    return internal_pb.FunctionSnapshot(
        function=function_to_proto(function, env="empty"),
        version=function.version,
        serving_revision_number=function.serving if wanted else 0,
        serving_limits=limits_to_proto(serving_limits) if serving_limits and wanted else None,
        deleted=function.delete_time is not None,
        workspace_display_name=workspace_display_name,
        traceparent=function.traceparent,
    )


def spec_from_proto(message: function_pb2.Function, stored_env: Mapping[str, str]) -> Spec:
    """All that a message says of a function, checked, with defaults. InvalidArgument."""
    name = rules.function_name(message.display_name)
    return Spec(
        display_name=name,
        path=rules.function_path(message.path or name),
        description=rules.description(message.description),
        methods=rules.http_methods(message.methods),
        runtime=enum_of(Runtime, message.runtime, "runtime"),
        target=enum_of(Target, message.target, "target"),
        run=RunSettings(
            env=rules.env(message.env, stored_env),
            limits=rules.limits(
                message.limits.memory_bytes,
                message.limits.cpu_millis,
                _milliseconds(message.limits.timeout) if message.limits.HasField("timeout") else 0,
                message.limits.concurrency,
            ),
            handler=rules.handler(message.handler),
            event_format=enum_of(EventFormat, message.event_format, "event_format") or EventFormat.HTTP_V2,
        ),
        scaling=_scaling(message),
        access=enum_of(Access, message.access, "access") or Access.PUBLIC,
        labels=rules.labels(message.labels),
        invocation_url=message.invocation_url,
        cluster=_cluster(message.cluster),
    )


def _scaling(function: function_pb2.Function) -> Scaling:
    message = function.scaling
    is_spin = function.runtime == function_pb2.RUNTIME_SPIN or function.target == function_pb2.TARGET_SPIN
    return rules.scaling(
        message.min_instances if message.HasField("min_instances") else None,
        message.max_instances,
        _milliseconds(message.idle_ttl) if message.HasField("idle_ttl") else 0,
        least_by_default=0 if is_spin else 1,
        most_by_default=CLUSTER_INSTANCES if scales_in_cluster(function) else 1,
    )


def scales_in_cluster(function: function_pb2.Function) -> bool:
    """Whether a cluster changes the number of its instances."""
    return function.target == function_pb2.TARGET_KUBERNETES and function.cluster.autoscaling


def _cluster(message: function_pb2.ClusterSettings) -> Cluster:
    return cluster_rules.checked(
        Cluster(
            context=message.context,
            namespace=message.namespace,
            app_name=message.app_name,
            service_account=message.service_account,
            use_spot=message.use_spot,
            autoscaling=message.autoscaling,
            image_pull_secrets=tuple(message.image_pull_secrets),
        )
    )


def scaling_to_proto(scaling: Scaling) -> function_pb2.Scaling:
    """Scaling, its defaults filled in."""
    message = function_pb2.Scaling(min_instances=scaling.min_instances, max_instances=scaling.max_instances)
    message.idle_ttl.FromMilliseconds(scaling.idle_ttl_ms)
    return message


def _milliseconds(duration: Any) -> int:
    """Its whole milliseconds; -1 for less than one, also for none: somebody said that it takes no time."""
    nanos = duration.seconds * 1_000_000_000 + duration.nanos
    if nanos < 1_000_000:
        return -1
    return int(nanos // 1_000_000)


def artifact_from_proto(message: revision_pb2.Artifact) -> Artifact:
    return Artifact(
        digest=message.digest,
        kind=enum_of(ArtifactKind, message.kind, "artifact.kind"),
        reference=message.reference,
        size_bytes=message.size_bytes,
        entry_file=message.entry_file,
    )


def revision_to_proto(function: Function, revision: Revision) -> revision_pb2.Revision:
    artifact = revision.artifact if revision.state is RevisionState.BUILT else None
    return revision_pb2.Revision(
        name=format_name(REVISION, function.workspace_uid, function.uid, revision.number),
        number=revision.number,
        state=int(revision.state),  # type: ignore[arg-type]
        artifact=revision_pb2.Artifact(
            digest=artifact.digest,
            kind=int(artifact.kind),  # type: ignore[arg-type]
            reference=artifact.reference,
            size_bytes=artifact.size_bytes,
            entry_file=artifact.entry_file,
        )
        if artifact
        else None,
        env_keys=sorted(revision.run.env),
        limits=limits_to_proto(revision.run.limits),
        build=format_name(BUILD, function.workspace_uid, function.uid, revision.build_uid)
        if revision.build_uid
        else "",
        create_time=to_timestamp(revision.create_time),
        error=revision.error,
        runtime=int(revision.runtime),  # type: ignore[arg-type]
        target=int(revision.target),  # type: ignore[arg-type]
    )


def secret_to_proto(function: Function, secret: Secret) -> secret_pb2.Secret:
    return secret_pb2.Secret(
        name=format_name(SECRET, function.workspace_uid, function.uid, secret.key),
        key=secret.key,
        set_time=to_timestamp(secret.set_time),
    )


def api_key_to_proto(key: ApiKey) -> api_key_pb2.ApiKey:
    return api_key_pb2.ApiKey(
        name=format_name(API_KEY, key.key_id),
        display_name=key.display_name,
        scopes=key.scopes,  # type: ignore[arg-type]
        workspace=format_name(WORKSPACE, key.workspace_uid) if key.workspace_uid else "",
        expire_time=to_timestamp(key.expire_time),
        create_time=to_timestamp(key.create_time),
        revoke_time=to_timestamp(key.revoke_time),
    )
