"""Tasks as older clients write and read them: a build, a push, or both."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.rest import words
from gateway.rest.multipart import FORM

Status = Literal["pending", "building", "pushing", "done", "failed"]
WORKSPACE = r"^[a-z0-9][a-z0-9-]{0,62}$"
APP = rf"^(?!fn-|({words.RESERVED})$)[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?$"
_TASK = "0190d2a1-7e4c-7b1a-9f43-2a9d7c1e5b60"

WorkspaceId = Annotated[
    str,
    Field(
        pattern=WORKSPACE, description="Name or identifier; comes into being on first use.", examples=["my-workspace"]
    ),
]
AppName = Annotated[str, Field(pattern=APP, description="Name of the app.", examples=["my-function"])]
Registry = Annotated[
    str,
    Field(
        min_length=1,
        max_length=400,
        pattern=words.PLAIN,
        description="Registry and repository: `127.0.0.1:5000/faas-app`.",
        examples=["127.0.0.1:5000/faas-app"],
    ),
]
Username = Annotated[
    str,
    Field(
        max_length=255,
        pattern=r"^[^:\x00-\x1f\x7f-\x9f\u2028\u2029]*$",
        description="Without a password: whoever the mesh's own Docker configuration says it is.",
        examples=["AWS"],
    ),
]
Password = Annotated[
    str, Field(max_length=16_384, pattern=words.TEXT, description="Kept encrypted while the task runs.", examples=["…"])
]


class BuildIn(words.Given):
    """What to build; the form's `file` comes beside it."""

    workspace_id: WorkspaceId
    app_name: AppName | None = None


class BuildAndPushIn(BuildIn):
    """What to build, and where to push it."""

    registry_url: Registry
    username: Username | None = None
    password: Password | None = None


class PushIn(words.Given):
    """What to push, named in one of three ways, and where to."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"task_id": _TASK, "registry_url": "127.0.0.1:5000/faas-app"}],
            "anyOf": [{"required": ["task_id"]}, {"required": ["wasm_path"]}, {"required": ["image"]}],
        }
    )

    task_id: uuid.UUID | None = Field(default=None, description="The task that built it.", examples=[_TASK])
    wasm_path: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"build-artifacts/[0-9a-fA-F-]{36}/app\.wasm$",
        description="`wasm_path` of the task that built it.",
        examples=[f"s3://bucket/build-artifacts/{_TASK}/app.wasm"],
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=600,
        pattern=words.PLAIN,
        description="What it was pushed as before.",
        examples=["127.0.0.1:5000/faas-app:a1b2c3d4"],
    )
    workspace_id: WorkspaceId | None = None
    registry_url: Registry
    username: Username | None = None
    password: Password | None = None


class TaskBegun(BaseModel):
    """A task that was accepted; it goes on in the background."""

    task_id: str
    status: Literal["pending"] = "pending"
    message: str
    source_s3_path: str = Field(description="Names the source; in the mesh's own blob store.")


class Result(BaseModel):
    """What a task gave."""

    wasm_path: str | None = Field(description="Names the component, for a push; null where it is an image.")
    image_url: str | None = Field(description="What it was pushed as; null where it was not.")


class Task(BaseModel):
    """A task."""

    task_id: str
    status: Status
    result: Result | None = Field(description="Null until it is done.")
    error: str | None = Field(description="Why it failed, one sentence.")
    error_message: str | None = Field(default=None, description="The same as `error`.")
    workspace_id: str
    function_id: str = Field(description="Identifier of the function that it builds.")
    percent: int = Field(description="0 to 100, never going back.")
    stage: str | None = Field(description="The step it is in, or ended in.")
    created_at: str
    started_at: str | None
    completed_at: str | None


class Tasks(BaseModel):
    """Tasks, newest first."""

    tasks: list[Task]
    count: int = Field(description="Tasks on this page.")
    next_page_token: str


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """What a field of a form may be: it is left out, never null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else schema


def form_body(model: type[BaseModel]) -> dict[str, Any]:
    """The request body of a form with a file, for the OpenAPI document."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("title", None)
    schema["properties"] = {
        "file": {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "format": "binary",
            "description": "A Python file, or a zip archive with spin.toml at its root.",
        },
        **{name: _never_null(one) for name, one in schema["properties"].items()},
    }
    schema["required"] = ["file", *schema.get("required", [])]
    return {"requestBody": {"required": True, "content": {FORM: {"schema": schema}}}}
