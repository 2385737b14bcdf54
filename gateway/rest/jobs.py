"""Jobs: scripts that are uploaded, executed in the background, and looked at by project, which is a workspace."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from fnmesh.invoke.v1 import job_pb2
from fnmesh.invoke.v1 import job_service_pb2 as pb
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from fnmesh.registry.v1 import workspace_pb2
from gateway.rest import convert, listings, words
from gateway.rest.caller import CALL_S, Mesh
from gateway.rest.problems import answers

router = APIRouter(prefix="/api", tags=["jobs"])

CODE_BYTES = 1024 * 1024
_LANGUAGES = {"python": job_pb2.LANGUAGE_PYTHON, "node": job_pb2.LANGUAGE_NODE}

Status = Literal["PENDING", "RUNNING", "SUCCESS", "FAILED", "TIMEOUT", "CANCELLED"]

# What older clients have no word for is shown as what it means to them.
_STATES: dict[Status, tuple[job_pb2.JobState.ValueType, ...]] = {
    "PENDING": (job_pb2.JOB_STATE_PENDING,),
    "RUNNING": (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING),
    "SUCCESS": (job_pb2.JOB_STATE_SUCCESS,),
    "FAILED": (job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_DEAD),
    "TIMEOUT": (job_pb2.JOB_STATE_TIMEOUT,),
    "CANCELLED": (job_pb2.JOB_STATE_CANCELLED,),
}
_WORDS: dict[int, Status] = {state: word for word, states in _STATES.items() for state in states}

JobId = Annotated[uuid.UUID, Path(description="Identifier of the job.")]
ProjectName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Name of the project.")]
PageSize = Annotated[Annotated[int, Field(ge=1, le=1000)] | Literal[""], Query(description="100 where empty.")]
Wanted = Annotated[Status | Literal[""] | None, Query(description="Only jobs with this status; all where empty.")]
PageToken = Annotated[str, Query(max_length=1000, description="`next_page_token` of the page before.")]


class CodeIn(words.Given):
    """A script to keep as a job."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"project": "my-project", "code": 'print("hello")', "language": "python"}]}
    )

    project: str = Field(pattern=words.WORKSPACE_NAME, description="Comes into being on first use.")
    code: str = Field(min_length=1, max_length=CODE_BYTES // 4, description="Runs from top to bottom.")
    language: Literal["python", "node"]


class Uploaded(BaseModel):
    """A job that was made."""

    job_id: str
    project: str
    code_key: str
    status: Status
    message: str


class ExecuteIn(words.Given):
    """How to execute a job."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"event": {"n": 1}, "timeout_s": 60}]})

    event: Any = Field(default=None, description="Any JSON; on the script's standard input.")
    timeout_s: float | None = Field(default=None, ge=0.001, le=86_400, description="300 where absent.")


class Executed(BaseModel):
    """A job that was started."""

    job_id: str
    status: Status
    message: str


class Job(BaseModel):
    """A job."""

    job_id: str
    project: str
    code_key: str
    language: str
    status: Status
    exit_code: int | None
    log_key: str | None
    created_at: str
    updated_at: str
    started_at: str | None
    completed_at: str | None
    error: str | None


class Jobs(BaseModel):
    """Jobs, newest first."""

    jobs: list[Job]
    next_page_token: str


class ProjectIn(words.Given):
    """A project to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"project": "p2"}]})

    project: str = Field(pattern=words.WORKSPACE_NAME)


class Project(BaseModel):
    """A project."""

    project: str
    job_count: int
    created_at: str


class Projects(BaseModel):
    """All projects."""

    projects: list[Project]


class Well(BaseModel):
    """The mesh answers."""

    status: Literal["ok"]


@router.get("/health", summary="Does the mesh answer?")
async def health() -> Well:
    return Well(status="ok")


@router.post("/upload", status_code=201, responses=answers(), summary="Keep a script as a job")
async def upload(given: CodeIn, mesh: Mesh) -> Uploaded:
    request = pb.CreateJobRequest(parent=f"workspaces/{given.project}")
    request.job.script.code = given.code.encode()
    request.job.script.language = _LANGUAGES[given.language]
    job = await mesh.jobs.CreateJob(request)
    return Uploaded(
        job_id=job.uid,
        project=job.workspace_display_name,
        code_key=job.code_key,
        status=_WORDS[job.state],
        message="Code uploaded successfully",
    )


@router.post("/execute/{job_id}", status_code=202, responses=answers(404, 409), summary="Start a job")
async def execute(job_id: JobId, mesh: Mesh, given: ExecuteIn | None = None) -> Executed:
    request = pb.StartJobRequest(name=f"workspaces/-/jobs/{job_id}")
    if given is not None and given.event is not None:
        request.event = json.dumps(given.event).encode()
    if given is not None and given.timeout_s is not None:
        request.timeout.FromMilliseconds(round(given.timeout_s * 1000))
    job = await mesh.jobs.StartJob(request)
    return Executed(job_id=job.uid, status="RUNNING", message="Execution started")


@router.get("/jobs", responses=answers(), summary="Jobs of all projects")
async def list_jobs(mesh: Mesh, status: Wanted = None, page_size: PageSize = 100, page_token: PageToken = "") -> Jobs:
    return await _page(mesh, "-", status, page_size, page_token)


@router.get("/jobs/{job_id}", responses=answers(404), summary="One job")
async def get_job(job_id: JobId, mesh: Mesh) -> Job:
    return _job(await mesh.jobs.GetJob(pb.GetJobRequest(name=f"workspaces/-/jobs/{job_id}")))


@router.post("/jobs/{job_id}/cancel", responses=answers(404), summary="Cancel a job")
async def cancel_job(job_id: JobId, mesh: Mesh) -> Job:
    return _job(await mesh.jobs.CancelJob(pb.CancelJobRequest(name=f"workspaces/-/jobs/{job_id}")))


@router.get("/projects", responses=answers(), summary="All projects")
async def list_projects(mesh: Mesh) -> Projects:
    counts = {one.workspace: one.jobs for one in (await mesh.jobs.CountJobs(_all())).workspaces}
    found = [_project(one, counts.get(one.name, 0)) async for one in listings.workspaces(mesh)]
    return Projects(projects=found)


@router.post("/project", status_code=201, responses=answers(409), summary="Make a project")
async def create_project(given: ProjectIn, mesh: Mesh) -> Project:
    workspace = workspace_pb2.Workspace(display_name=given.project)
    made = await mesh.registry.CreateWorkspace(registry_pb.CreateWorkspaceRequest(workspace=workspace))
    return _project(made, 0)


@router.get("/projects/{project}/jobs", responses=answers(404), summary="Jobs of a project")
async def list_project_jobs(
    project: ProjectName,
    mesh: Mesh,
    status: Wanted = None,
    page_size: PageSize = 100,
    page_token: PageToken = "",
) -> Jobs:
    return await _page(mesh, project, status, page_size, page_token)


@router.get(
    "/log",
    response_class=StreamingResponse,
    responses={**answers(404), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="The log of a job",
)
async def get_log(
    mesh: Mesh, log_key: Annotated[str, Query(min_length=1, max_length=300, description="`log_key` of a job.")]
) -> StreamingResponse:
    call = mesh.jobs.GetJobLog(pb.GetJobLogRequest(log_key=log_key), timeout=10 * CALL_S)
    parts = aiter(call)
    first = await anext(parts, None)  # what is wrong is told before the answer begins

    async def pieces() -> AsyncIterator[bytes]:
        if first is not None:
            yield first.chunk
            async for part in parts:
                yield part.chunk

    return StreamingResponse(pieces(), media_type="text/plain; charset=utf-8")


def _all() -> pb.CountJobsRequest:
    return pb.CountJobsRequest(parent="workspaces/-")


async def _page(
    mesh: Mesh, project: str, status: Status | Literal[""] | None, page_size: int | Literal[""], page_token: str
) -> Jobs:
    request = pb.ListJobsRequest(parent=f"workspaces/{project}", page_size=page_size or 0, page_token=page_token)
    if status:
        request.states.extend(_STATES[status])
    answer = await mesh.jobs.ListJobs(request)
    return Jobs(jobs=[_job(one) for one in answer.jobs], next_page_token=answer.next_page_token)


def _project(workspace: workspace_pb2.Workspace, jobs: int) -> Project:
    return Project(project=workspace.display_name, job_count=jobs, created_at=convert.time_of(workspace.create_time))


def _job(job: job_pb2.Job) -> Job:
    node = job.WhichOneof("work") == "script" and job.script.language == job_pb2.LANGUAGE_NODE
    return Job(
        job_id=job.uid,
        project=job.workspace_display_name,
        code_key=job.code_key,
        language="node" if node else "python",
        status=_WORDS[job.state],
        exit_code=job.exit_code if job.HasField("exit_code") else None,
        log_key=job.log_key or None,
        created_at=convert.time_of(job.create_time),
        updated_at=convert.time_of(job.update_time),
        started_at=convert.time_of(job.start_time) if job.HasField("start_time") else None,
        completed_at=convert.time_of(job.end_time) if job.HasField("end_time") else None,
        error=job.error or None,
    )
