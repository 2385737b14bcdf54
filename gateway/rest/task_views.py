"""Builds as tasks: how older clients see them, at once and as they go on."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from fnmesh.build.v1 import build_pb2
from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.registry.v1 import revision_pb2
from gateway.rest import convert
from gateway.rest.caller import Caller
from gateway.rest.sse import event
from gateway.rest.task_models import Result, Status, Task, TaskBegun

_WATCH_S = 900.0
WORDS: dict[int, Status] = {
    build_pb2.BUILD_STATE_PENDING: "pending",
    build_pb2.BUILD_STATE_BUILDING: "building",
    build_pb2.BUILD_STATE_PUSHING: "pushing",
    build_pb2.BUILD_STATE_DONE: "done",
    build_pb2.BUILD_STATE_FAILED: "failed",
    build_pb2.BUILD_STATE_CANCELLED: "failed",
}
ENDED = ("done", "failed")
EVENT = {  # of each one
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["status", "progress", "log", "error"]},
        "data": {"type": "string", "description": "JSON."},
    },
    "required": ["data", "event"],
}


class Places:
    """Names for what is in the blob store, below its URL."""

    def __init__(self, blob_url: str) -> None:
        self._root = (blob_url if "://" in blob_url else f"file://{blob_url}").rstrip("/")

    def source(self, workspace: str, task_id: str) -> str:
        """Names the source of a task."""
        return f"{self._root}/build-sources/{workspace}/{task_id}/"

    def wasm(self, task_id: str) -> str:
        """Names the component that a task made."""
        return f"{self._root}/build-artifacts/{task_id}/app.wasm"


async def events(mesh: Caller, found: build_pb2.Build, after: int, places: Places) -> AsyncGenerator[bytes, None]:
    """What happens in a task after an event's number, as server-sent events, until it has ended."""
    request = build_pb.WatchBuildRequest(name=f"builds/{found.uid}", after_sequence=after)
    async for one in mesh.build.WatchBuild(request, timeout=_WATCH_S):
        match one.WhichOneof("event"):
            case "progress":
                told = {"stage": _stage(one.progress.stage), "percent": one.progress.percent}
                yield event(json.dumps(told), name="progress", number=one.sequence)
            case "log_line":
                told = {"stage": _stage(one.log_line.stage), "line": one.log_line.text}
                yield event(json.dumps(told), name="log", number=one.sequence)
            case "state_change":
                task = task_of(one.state_change.build, places)
                yield event(task.model_dump_json(), name="status", number=one.sequence)


def begun(made: build_pb2.Build, workspace: str, message: str, places: Places) -> TaskBegun:
    """The answer to whoever began a task."""
    return TaskBegun(task_id=made.uid, message=message, source_s3_path=places.source(workspace, made.uid))


def task_of(found: build_pb2.Build, places: Places) -> Task:
    """A build as a task."""
    status = WORDS[found.state]
    result = None
    if status == "done":
        is_image = found.artifact.kind == revision_pb2.ARTIFACT_KIND_IMAGE
        result = Result(wasm_path=None if is_image else places.wasm(found.uid), image_url=found.push.image or None)
    _, workspace, _, function = found.function.split("/")
    return Task(
        task_id=found.uid,
        status=status,
        result=result,
        error=found.error or None,
        error_message=found.error or None,
        workspace_id=workspace,
        function_id=function,
        percent=found.percent,
        stage=_stage(found.stage),
        created_at=convert.time_of(found.create_time),
        started_at=convert.time_of(found.start_time) if found.HasField("start_time") else None,
        completed_at=convert.time_of(found.end_time) if found.HasField("end_time") else None,
    )


def _stage(stage: int) -> str | None:
    return build_pb2.Stage.Name(stage).removeprefix("STAGE_").lower() if stage else None  # type: ignore[arg-type]
