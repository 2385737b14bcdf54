"""A good request for every method of the public API, about one function and what belongs to it."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from fnmesh.build.v1 import build_pb2
from fnmesh.build.v1 import build_service_pb2 as build
from fnmesh.client import Mesh
from fnmesh.deploy.v1 import deploy_service_pb2 as deploy
from fnmesh.deploy.v1 import usage_service_pb2 as usage
from fnmesh.invoke.v1 import invoke_service_pb2 as invoke
from fnmesh.invoke.v1 import job_pb2, schedule_pb2
from fnmesh.invoke.v1 import job_service_pb2 as jobs
from fnmesh.invoke.v1 import schedule_service_pb2 as schedules
from fnmesh.invoke.v1 import stats_service_pb2 as stats
from fnmesh.registry.v1 import api_key_pb2, function_pb2, workspace_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry
from fnmesh.trace.v1 import trace_service_pb2 as trace

_numbers = itertools.count()

_SCRIPT = job_pb2.Script(code=b"raise SystemExit(1)\n", language=job_pb2.LANGUAGE_PYTHON)


@dataclass(frozen=True)
class World:
    """Names of things that are there: a function that was deployed and invoked, and all that came of it."""

    workspace: str
    function: str
    build: str
    source_digest: str
    execution: str
    trace: str
    api_key: str
    job: str
    pending_job: str
    schedule: str

    @classmethod
    def of(cls, mesh: Mesh, function: str) -> World:
        """What there is of a deployed function, invoked here; needs the scope admin."""
        ran = mesh.invoke(function, {})
        found = mesh.show(function)
        workspace = found.name.rpartition("/functions/")[0]
        (newest, *_) = mesh.builds(function)
        key = mesh.create_key(["invoke"], display_name=f"key of {function}", workspace=workspace.partition("/")[2])
        with tempfile.NamedTemporaryFile(suffix=".py") as script:
            script.write(_SCRIPT.code)
            script.flush()
            ended = mesh.jobs.wait(mesh.jobs.run_script(script.name).name)
            pending = mesh.jobs.run_script(script.name, start=False)
            schedule = mesh.schedules.add("0 0 1 1 *", script=script.name)
        return cls(
            job=ended.name,
            pending_job=pending.name,
            schedule=schedule.name,
            workspace=workspace,
            function=found.name,
            build=newest.name,
            source_digest=newest.source_digest,
            execution=ran.execution,
            trace=f"traces/{ran.trace_id}",
            api_key=key.api_key.name,
        )

    def requests(self) -> dict[str, list[Message]]:
        """The messages of one good call, by the method's name. Order matters: what destroys comes last."""
        fresh = f"made-by-a-test-{next(_numbers)}"
        named = function_pb2.Function(name=self.function, description="changed")
        start = invoke.InvokeRequest(name=self.function, payload=b"{}")
        key = api_key_pb2.ApiKey(scopes=[api_key_pb2.SCOPE_INVOKE], workspace=self.workspace)
        return {
            "GetWorkspace": [registry.GetWorkspaceRequest(name=self.workspace)],
            "ListWorkspaces": [registry.ListWorkspacesRequest()],
            "UpdateWorkspace": [
                registry.UpdateWorkspaceRequest(
                    workspace=workspace_pb2.Workspace(name=self.workspace, description="changed")
                )
            ],
            "GetFunction": [registry.GetFunctionRequest(name=self.function)],
            "ListFunctions": [registry.ListFunctionsRequest(parent=self.workspace)],
            "GetRevision": [registry.GetRevisionRequest(name=f"{self.function}/revisions/1")],
            "ListRevisions": [registry.ListRevisionsRequest(parent=self.function)],
            "ImportSource": [build.ImportSourceRequest(image="127.0.0.1:1/nobody/listens:there")],
            "ResolveImage": [build.ResolveImageRequest(image="127.0.0.1:1/nobody/listens:there")],
            "GetSource": [build.GetSourceRequest(function=self.function)],
            "GetBuild": [build.GetBuildRequest(name=self.build)],
            "ListBuilds": [build.ListBuildsRequest(parent=self.function)],
            "WatchBuild": [build.WatchBuildRequest(name=self.build)],
            "CancelBuild": [build.CancelBuildRequest(name=self.build)],
            "GetDeployment": [deploy.GetDeploymentRequest(name=f"{self.function}/deployment")],
            "WatchDeployment": [deploy.WatchDeploymentRequest(name=f"{self.function}/deployment")],
            "ReadLogs": [deploy.ReadLogsRequest(parent=self.function)],
            "RenderManifests": [
                deploy.RenderManifestsRequest(function=function_pb2.Function(display_name=fresh), image="a.b/c:1")
            ],
            "ListTargets": [deploy.ListTargetsRequest()],
            "GetFunctionUsage": [usage.GetFunctionUsageRequest(name=self.function)],
            "ListFunctionUsage": [usage.ListFunctionUsageRequest(parent="workspaces/-/functions/-")],
            "GetTargetUsage": [usage.GetTargetUsageRequest()],
            "Invoke": [start],
            "InvokeStream": [invoke.InvokeStreamRequest(start=start)],
            "GetExecution": [invoke.GetExecutionRequest(name=self.execution)],
            "ListExecutions": [invoke.ListExecutionsRequest(parent=self.function)],
            "ListFunctionStats": [stats.ListFunctionStatsRequest(parent=self.function)],
            "ListFunctionTotals": [stats.ListFunctionTotalsRequest(parent=self.function)],
            "ListJobs": [jobs.ListJobsRequest(parent=self.workspace)],
            "CountJobs": [jobs.CountJobsRequest(parent=self.workspace)],
            "GetJob": [jobs.GetJobRequest(name=self.job)],
            "WatchJob": [jobs.WatchJobRequest(name=self.job)],
            "GetJobLog": [jobs.GetJobLogRequest(name=self.job)],
            "CreateJob": [jobs.CreateJobRequest(parent=self.workspace, job=job_pb2.Job(script=_SCRIPT))],
            "StartJob": [jobs.StartJobRequest(name=self.pending_job)],
            "CancelJob": [jobs.CancelJobRequest(name=self.pending_job)],
            "RedriveJob": [jobs.RedriveJobRequest(name=self.job)],
            "ListSchedules": [schedules.ListSchedulesRequest(parent=self.workspace)],
            "GetSchedule": [schedules.GetScheduleRequest(name=self.schedule)],
            "CreateSchedule": [
                schedules.CreateScheduleRequest(
                    parent=self.workspace,
                    schedule=schedule_pb2.Schedule(cron="0 0 1 1 *", job=job_pb2.Job(script=_SCRIPT)),
                )
            ],
            "DeleteSchedule": [schedules.DeleteScheduleRequest(name=self.schedule)],
            "GetTrace": [trace.GetTraceRequest(name=self.trace)],
            "ListApiKeys": [registry.ListApiKeysRequest()],
            "CreateApiKey": [registry.CreateApiKeyRequest(api_key=key)],
            "CreateWorkspace": [registry.CreateWorkspaceRequest(workspace=workspace_pb2.Workspace(display_name=fresh))],
            "CreateFunction": [
                registry.CreateFunctionRequest(
                    parent=self.workspace,
                    function=function_pb2.Function(display_name=fresh),
                )
            ],
            "UploadSource": [
                build.UploadSourceRequest(filename="handler.py"),
                build.UploadSourceRequest(chunk=b"def handler(event):\n    return 1\n"),
            ],
            "SetSecret": [registry.SetSecretRequest(parent=self.function, key="PASSWORD", value="secret")],
            "ListSecrets": [registry.ListSecretsRequest(parent=self.function)],
            "DeleteSecret": [registry.DeleteSecretRequest(name=f"{self.function}/secrets/PASSWORD")],
            "UpdateFunction": [
                registry.UpdateFunctionRequest(function=named, update_mask=FieldMask(paths=["description"]))
            ],
            "CreateBuild": [
                build.CreateBuildRequest(parent=self.function, build=build_pb2.Build(source_digest=self.source_digest))
            ],
            "DeployFunction": [registry.DeployFunctionRequest(name=self.function)],
            "RollbackFunction": [registry.RollbackFunctionRequest(name=self.function, revision_number=1)],
            "StopFunction": [registry.StopFunctionRequest(name=self.function)],
            "RevokeApiKey": [registry.RevokeApiKeyRequest(name=self.api_key)],
            "DeleteFunction": [registry.DeleteFunctionRequest(name=self.function)],
            "DeleteWorkspace": [registry.DeleteWorkspaceRequest(name=self.workspace)],
        }
