"""Jobs of scripts that deploy_svc refuses to run, or begins and never ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deploy_svc.scripts.service import SERVICE_NAME, ScriptServicer
from fnmesh.internal.deploy.v1 import script_service_pb2 as script_pb
from fnmesh.internal.deploy.v1 import script_service_pb2_grpc as script_grpc
from fnmesh.invoke.v1 import job_pb2, job_service_pb2_grpc
from fnmesh.invoke.v1 import job_service_pb2 as pb
from mesh.auth import Authenticator
from mesh.errors import Internal, MeshError, Unavailable
from mesh.rpc_client import open_channel
from mesh.rpc_server import serve
from tests.support.errors_page import answers
from tests.support.invoke_mesh import mesh_running

_ROW = "a job of a script for a target that `FNMESH_DEPLOY_LOCAL_TARGETS` leaves out"


class Breaking(script_grpc.ScriptServiceServicer):
    """Begins a script and fails."""

    def __init__(self, error: MeshError) -> None:
        self._error = error

    async def RunScript(self, request: Any, context: Any) -> AsyncIterator[script_pb.RunScriptResponse]:
        yield script_pb.RunScriptResponse(started=script_pb.ScriptStarted(handle="1@1"))
        raise self._error


async def ended(run_dir: Path, scripts: script_grpc.ScriptServiceServicer, **fields: Any) -> job_pb2.Job:
    """A job of a script as it ended, where that runs scripts."""
    async with mesh_running(run_dir) as mesh:
        await mesh.stop_deploy()
        async with (
            serve(
                f"unix:{run_dir}/deploy.sock",
                lambda server: script_grpc.add_ScriptServiceServicer_to_server(scripts, server),
                public_services=(),
                internal_services=(SERVICE_NAME,),
                auth=Authenticator("off", mesh.token),
                drain_s=0.1,
            ),
            open_channel(f"unix:{run_dir}/invoke.sock") as channel,
        ):
            stub: Any = job_service_pb2_grpc.JobServiceStub(channel)
            script = job_pb2.Script(code=b"print(1)", language=job_pb2.LANGUAGE_PYTHON)
            job = job_pb2.Job(script=script, **fields)
            made = await stub.CreateJob(pb.CreateJobRequest(parent="workspaces/default", job=job, start=True))
            told = [one async for one in stub.WatchJob(pb.WatchJobRequest(name=made.name))]
            last: job_pb2.Job = [one.job for one in told if one.HasField("job")][-1]
            return last


async def test_a_script_for_a_target_that_is_not_offered_fails_at_once_and_says_so(tmp_run_dir: Path) -> None:
    targets: dict[str, Any] = {"process": object()}
    last = await ended(tmp_run_dir, ScriptServicer(targets, frozenset(), lambda: None), max_attempts=3)

    assert (last.state, last.attempt) == (job_pb2.JOB_STATE_FAILED, 1)
    assert last.error == f"TARGET_NOT_OFFERED: {answers('The machine')[_ROW]}"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unavailable("STOPPING", "The service is stopping."), "was stopped, and the script with it."),
        (Internal("INTERNAL", "Something went wrong (log id 1f)."), "failed: Something went wrong (log id 1f)."),
    ],
    ids=["stopped", "failed"],
)
async def test_a_run_that_is_lost_says_of_what(tmp_run_dir: Path, error: MeshError, told: str) -> None:
    last = await ended(tmp_run_dir, Breaking(error))

    assert last.state == job_pb2.JOB_STATE_FAILED
    assert last.error == f"RUN_LOST: The service that ran the script {told}"
