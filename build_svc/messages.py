"""Between the API's messages and the domain's types."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from build_svc.domain import (
    Artifact,
    ArtifactKind,
    Build,
    BuildState,
    Event,
    LogLine,
    Progress,
    Push,
    Runtime,
    Stage,
    StateChange,
    Target,
)
from fnmesh.build.v1 import build_pb2 as pb
from fnmesh.registry.v1 import function_pb2 as functions
from fnmesh.registry.v1 import revision_pb2 as revisions

RUNTIMES = {
    Runtime.PYTHON: functions.RUNTIME_PYTHON,
    Runtime.NODE: functions.RUNTIME_NODE,
    Runtime.SPIN: functions.RUNTIME_SPIN,
}
TARGETS = {
    Target.PROCESS: functions.TARGET_PROCESS,
    Target.DOCKER: functions.TARGET_DOCKER,
    Target.SPIN: functions.TARGET_SPIN,
    Target.KUBERNETES: functions.TARGET_KUBERNETES,
}
_KINDS = {
    ArtifactKind.IMAGE: revisions.ARTIFACT_KIND_IMAGE,
    ArtifactKind.TREE: revisions.ARTIFACT_KIND_TREE,
    ArtifactKind.WASM: revisions.ARTIFACT_KIND_WASM,
    ArtifactKind.CLUSTER_IMAGE: revisions.ARTIFACT_KIND_IMAGE,
    ArtifactKind.GIVEN_IMAGE: revisions.ARTIFACT_KIND_IMAGE,
}


def runtime_name(value: functions.Runtime.ValueType) -> str:
    """`python`, `node`, `spin`, or what the API calls it; empty where it is not said."""
    return _short("RUNTIME_", functions.Runtime.Name(value)) if value else ""


def target_name(value: functions.Target.ValueType) -> str:
    """`process`, `docker`, `spin`, or what the API calls it; empty where it is not said."""
    return _short("TARGET_", functions.Target.Name(value)) if value else ""


def artifact_message(artifact: Artifact) -> revisions.Artifact:
    return revisions.Artifact(
        digest=artifact.digest,
        kind=_KINDS[artifact.kind],
        reference=artifact.reference,
        size_bytes=artifact.size_bytes,
        entry_file=artifact.entry_file,
    )


def build_message(build: Build) -> pb.Build:
    message = pb.Build(
        name=build.name,
        uid=build.uid,
        state=_state(build.state),
        function=build.function,
        revision=build.revision,
        source_digest=build.source_digest,
        deploy=build.deploy,
        percent=build.percent,
        stage=_stage(build.stage),
        cached=build.cached,
        error=build.error,
        create_time=_timestamp(build.create_time),
        start_time=_timestamp(build.start_time),
        end_time=_timestamp(build.end_time),
        last_sequence=build.last_sequence,
        trace_id=build.trace_id,
        image=build.image,
    )
    if build.artifact is not None:
        message.artifact.CopyFrom(artifact_message(build.artifact))
    if build.push is not None:
        message.push.CopyFrom(pb.Push(**vars(build.push)))
    return message


def push_of(build: pb.Build) -> Push | None:
    """Where a build that is asked for is pushed to; its password is left out."""
    if not build.HasField("push"):
        return None
    return Push(repository=build.push.repository, tag=build.push.tag, username=build.push.username)


def event_message(event: Event) -> pb.BuildEvent:
    message = pb.BuildEvent(sequence=event.sequence, event_time=_timestamp(event.time))
    match event.what:
        case Progress(stage, percent):
            message.progress.CopyFrom(pb.Progress(stage=_stage(stage), percent=percent))
        case LogLine(stage, text):
            message.log_line.CopyFrom(pb.LogLine(stage=_stage(stage), text=text))
        case StateChange(build):
            message.state_change.CopyFrom(pb.StateChange(state=_state(build.state), build=build_message(build)))
    return message


def _short(prefix: str, name: str) -> str:
    return name.removeprefix(prefix).lower()


def _state(state: BuildState) -> pb.BuildState.ValueType:
    return pb.BuildState.Value(f"BUILD_STATE_{state.value}")


def _stage(stage: Stage | None) -> pb.Stage.ValueType:
    return pb.Stage.Value(f"STAGE_{stage.value}") if stage else pb.STAGE_UNSPECIFIED


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
