"""Functions as the workspaces' clients write them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from gateway.rest import sources, words

_CODE = "ZGVmIGhhbmRsZXIoZXZlbnQpOgogICAgcmV0dXJuIHsib2siOiBUcnVlfQo="

Base64 = Annotated[
    str,
    Field(
        min_length=1,
        max_length=sources.CODE_BYTES * 4 // 3,
        description="Code, base64.",
        json_schema_extra={"contentEncoding": "base64"},
        pattern=r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    ),
]
Library = Annotated[str, Field(max_length=sources.CODE_BYTES, description="Text of requirements.txt or package.json.")]
Name = Annotated[str, Field(pattern=words.FUNCTION_NAME)]
Route = Annotated[str, Field(min_length=1, max_length=255, pattern=words.PATH)]
Runtime = Annotated[str, Field(pattern=words.RUNTIME, description="python3.12, nodejs20.x, ...; spin.")]
Method = Annotated[str, Field(pattern=words.METHOD)]
_ENV_NAMES = AliasChoices("environmentVariables", "env")
_METHOD_NAMES = AliasChoices("httpMethods", "methods")


class LimitsIn(words.Given):
    """Limits of each instance; what is not there is as it was, or the default."""

    memory: int | None = Field(default=None, ge=16, le=65_536, description="MiB.")
    timeout: float | None = Field(default=None, ge=0.001, le=900, description="Seconds a request may take.")
    cpu: float | None = Field(default=None, ge=0.01, le=256, description="CPUs.")
    concurrency: int | None = Field(default=None, ge=1, le=1000, description="Requests at once.")


class FunctionIn(words.Given):
    """A function to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "hello", "runtime": "python3.12", "code": _CODE, "memory": 256, "timeout": 30}]
        }
    )

    name: Name
    description: words.Description = ""
    runtime: Runtime
    code: Base64
    library: Library | None = None
    path: Route | None = Field(default=None, description="Below /api/; the name if absent.")
    httpMethods: list[Method] = Field(default_factory=list, max_length=32, validation_alias=_METHOD_NAMES)
    environmentVariables: words.Env = Field(default_factory=dict, validation_alias=_ENV_NAMES)
    memory: int | None = Field(default=None, ge=16, le=65_536, description="MiB of each instance.")
    timeout: float | None = Field(default=None, ge=0.001, le=900, description="Seconds a request may take.")
    limits: LimitsIn | None = Field(default=None, description="More limits; `memory` and `timeout` beside it go first.")


class FunctionChange(words.Given):
    """What to change of a function; what is not there stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"environmentVariables": {"K": "V"}}]})

    name: Name | None = None
    description: words.Description | None = None
    runtime: Runtime | None = None
    code: Base64 | None = None
    library: Library | None = None
    path: Route | None = None
    httpMethods: list[Method] | None = Field(default=None, max_length=32, validation_alias=_METHOD_NAMES)
    environmentVariables: words.Env | None = Field(default=None, validation_alias=_ENV_NAMES)
    memory: int | None = Field(default=None, ge=16, le=65_536)
    timeout: float | None = Field(default=None, ge=0.001, le=900)
    limits: LimitsIn | None = None
    invocationUrl: str | None = Field(
        default=None,
        max_length=2048,
        description="An endpoint that this mesh deployed, or one that its operator allows.",
    )


class Function(BaseModel):
    """A function, and how it ran within a day."""

    id: str
    function_id: str
    workspaceId: str
    name: str
    description: str
    runtime: str
    status: str = Field(description="created, deploying, deployed, degraded, failed or stopped.")
    path: str
    httpMethods: list[str]
    environmentVariables: dict[str, str] = Field(description="Values are masked.")
    memory: int
    timeout: float
    invocationUrl: str | None
    invocations24h: int
    errors24h: int
    avgDuration: float = Field(description="Milliseconds.")
    createdAt: str
    updatedAt: str


class Invoked(BaseModel):
    """What an invocation gave."""

    statusCode: int
    body: Any = Field(description="JSON where the function answered JSON, else text.")
    isBase64Encoded: bool = Field(description="Whether the text is base64, since the answer was none.")
    headers: dict[str, str]
    duration: float = Field(description="Milliseconds.")
    logId: str
    traceId: str


class Run(BaseModel):
    """The record of one run."""

    id: str
    timestamp: str
    status: str = Field(description="success or error.")
    duration: float = Field(description="Milliseconds.")
    statusCode: int
    requestBody: str | None = Field(
        description="Beginning of the event of an invoke; null of a run over /api/<path>, and where it is not kept."
    )
    responseBody: str | None = Field(description="Beginning of what it was answered, in the same way.")
    logs: str = Field(description="What the function printed meanwhile, as far as it is among its newest lines.")
    level: str
    coldStart: bool
    traceId: str
    error: str | None


class Runs(BaseModel):
    """Runs, newest first."""

    logs: list[Run]
    next_page_token: str


class Begun(BaseModel):
    """What was begun; it goes on in the background."""

    function_id: str
    status: str
    task_id: str
