"""The asynchronous face of the client."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.protobuf.field_mask_pb2 import FieldMask

from fnmesh.build.v1 import build_pb2, build_service_pb2
from fnmesh.build.v1.build_service_pb2_grpc import BuildServiceStub
from fnmesh.client.address import find_api_key, parse_server
from fnmesh.client.answer import Answer
from fnmesh.client.connection import Connection
from fnmesh.client.deploying import AsyncDeploy, watch_build, watch_deployment, watch_rollout
from fnmesh.client.errors import AlreadyExists, NotFound, SourceError
from fnmesh.client.health import check_health
from fnmesh.client.jobs import AsyncJobs
from fnmesh.client.names import as_function_name, function_name, name_within, revision_number, workspace_name
from fnmesh.client.packing import PackedSource, pack
from fnmesh.client.paging import collect
from fnmesh.client.schedules import AsyncSchedules
from fnmesh.client.settings import FunctionSettings, parse_settings_toml
from fnmesh.client.units import parse_duration
from fnmesh.deploy.v1 import deploy_service_pb2, deployment_pb2
from fnmesh.deploy.v1.deploy_service_pb2_grpc import DeployServiceStub
from fnmesh.invoke.v1 import invoke_pb2, invoke_service_pb2
from fnmesh.invoke.v1.invoke_service_pb2_grpc import InvokeServiceStub
from fnmesh.registry.v1 import api_key_pb2, function_pb2, registry_service_pb2, revision_pb2, secret_pb2, workspace_pb2
from fnmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from fnmesh.trace.v1 import trace_service_pb2
from fnmesh.trace.v1.trace_service_pb2_grpc import TraceServiceStub

_UPLOAD_TIMEOUT_S = 300.0
_CHUNK_BYTES = 512 * 1024
SCOPES = {
    "admin": api_key_pb2.SCOPE_ADMIN,
    "deploy": api_key_pb2.SCOPE_DEPLOY,
    "invoke": api_key_pb2.SCOPE_INVOKE,
}


class AsyncMesh:
    """A mesh, as its users see it. Functions are named by their name in `workspace`, or by resource name.

    server: `host:port` or a URL; FNMESH_SERVER or 127.0.0.1:8080 where not given.
    api_key: FNMESH_API_KEY or the credentials file where not given.
    timeout_s: for calls that are not streams.
    All methods raise RpcFailed and its kinds.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        workspace: str = "default",
        timeout_s: float = 30.0,
    ) -> None:
        self.address = parse_server(server)
        self.workspace = workspace
        self._connection = Connection(self.address, api_key or find_api_key(), timeout_s)
        channel = self._connection.channel
        self._registry = RegistryServiceStub(channel)
        self._builds = BuildServiceStub(channel)
        self._deploys = DeployServiceStub(channel)
        self._invokes = InvokeServiceStub(channel)
        self._traces = TraceServiceStub(channel)
        self.jobs = AsyncJobs(self._connection, workspace)
        self.schedules = AsyncSchedules(self._connection, workspace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channel; calls that are under way are cancelled."""
        await self._connection.close()

    # -- deploying ---------------------------------------------------------------------------------------

    async def deploy(self, source: str | Path, settings: FunctionSettings | None = None, /, **more: Any) -> AsyncDeploy:
        """Uploads the source, makes or changes the function and starts the build.

        Settings come from `more` (see FunctionSettings), else from `settings`, else from the source's
        fnmesh.toml. Returns once the build is accepted. Raises SourceError before anything was sent. A source
        that the mesh refuses leaves the function as it was.
        """
        packed = pack(source)
        function, mask = self._wanted(packed, settings, more)
        digest = await self._upload(packed)
        function = await self._create_or_update(function, mask)
        build = await self._connection.call(
            self._builds.CreateBuild,
            build_service_pb2.CreateBuildRequest(
                parent=function.name,
                build=build_pb2.Build(source_digest=digest, deploy=True),
                request_id=str(uuid.uuid4()),
            ),
        )
        return AsyncDeploy(self._connection, function, build, digest)

    async def create(
        self, source: str | Path, settings: FunctionSettings | None = None, /, *, number: int = 0, **more: Any
    ) -> function_pb2.Function:
        """Makes a function with a source and builds nothing yet; settings as in `deploy`.

        `number` is what older clients shall know it by, one of those kept for examples. Raises AlreadyExists.
        """
        packed = pack(source)
        function, _ = self._wanted(packed, settings, more)
        parent = function.name.rpartition("/functions/")[0]
        function.name = ""
        function.source_digest = await self._upload(packed)
        request = registry_service_pb2.CreateFunctionRequest(
            parent=parent, function=function, number=number, request_id=str(uuid.uuid4())
        )
        return await self._connection.call(self._registry.CreateFunction, request)

    def _wanted(
        self, packed: PackedSource, settings: FunctionSettings | None, more: Mapping[str, Any]
    ) -> tuple[function_pb2.Function, Sequence[str]]:
        """The function that a source and settings mean, and which fields they say something of."""
        wanted = FunctionSettings(**more).over(settings or FunctionSettings())
        if packed.settings_toml is not None:
            wanted = wanted.over(parse_settings_toml(packed.settings_toml))
        function, mask = wanted.to_function()
        function.display_name = wanted.name or as_function_name(packed.suggested_name)
        function.name = name_within(wanted.workspace or self.workspace, function.display_name)
        return function, mask

    async def _upload(self, packed: PackedSource) -> str:
        parts = _parts(packed.filename, packed.content)
        uploaded = await self._connection.call(self._builds.UploadSource, parts, timeout_s=_UPLOAD_TIMEOUT_S)
        return uploaded.source_digest

    async def _create_or_update(self, function: function_pb2.Function, mask: Sequence[str]) -> function_pb2.Function:
        try:
            there = await self.show(function.name)
        except NotFound:
            created = function_pb2.Function()
            created.CopyFrom(function)
            created.name = ""
            try:
                return await self._connection.call(
                    self._registry.CreateFunction,
                    registry_service_pb2.CreateFunctionRequest(
                        parent=function.name.rpartition("/functions/")[0],
                        function=created,
                        request_id=str(uuid.uuid4()),
                    ),
                )
            except AlreadyExists as error:
                if error.reason != "NAME_TAKEN":
                    raise
                there = await self.show(function.name)  # somebody else made it just now
        if not mask:
            return there
        return await self._connection.call(
            self._registry.UpdateFunction,
            registry_service_pb2.UpdateFunctionRequest(
                function=function, update_mask=FieldMask(paths=mask), defer_rollout=True
            ),
        )

    async def wait_ready(self, function: function_pb2.Function) -> deployment_pb2.Deployment:
        """The deployment, once the function's serving revision is ready. Raises DeployFailed."""
        last = deployment_pb2.Deployment()
        wanted = revision_number(function.serving_revision)
        async for deployment in watch_rollout(self._connection, function.name, wanted):
            last = deployment
        return last

    # -- functions ---------------------------------------------------------------------------------------

    async def list(self, *, workspace: str | None = None) -> Sequence[function_pb2.Function]:
        """The functions of a workspace, or of all with `-`."""
        request = registry_service_pb2.ListFunctionsRequest(parent=workspace_name(workspace or self.workspace))
        return await collect(self._connection, self._registry.ListFunctions, request, "functions")

    async def show(self, name: str, *, reveal_env: bool = False) -> function_pb2.Function:
        """One function. `reveal_env` shows env values and needs the scope admin."""
        return await self._connection.call(
            self._registry.GetFunction,
            registry_service_pb2.GetFunctionRequest(name=self._name(name), reveal_env=reveal_env),
        )

    async def revisions(self, name: str) -> Sequence[revision_pb2.Revision]:
        """The revisions of a function, newest first."""
        request = registry_service_pb2.ListRevisionsRequest(parent=self._name(name))
        return await collect(self._connection, self._registry.ListRevisions, request, "revisions")

    async def env_set(self, name: str, env: Mapping[str, str]) -> function_pb2.Function:
        """Sets env values; where the function is deployed a new revision is rolled out, without a build."""
        function = function_pb2.Function(name=self._name(name), env=env)
        return await self._update(function, [f"env.{key}" for key in env])

    async def env_unset(self, name: str, keys: Iterable[str]) -> function_pb2.Function:
        """Removes env values; rolled out like those of `env_set`."""
        return await self._update(function_pb2.Function(name=self._name(name)), [f"env.{key}" for key in keys])

    async def secret_set(self, name: str, key: str, value: str) -> function_pb2.Function:
        """Sets a secret: an environment variable that nothing shows again. Rolled out like `env_set`."""
        request = registry_service_pb2.SetSecretRequest(parent=self._name(name), key=key, value=value)
        return (await self._connection.call(self._registry.SetSecret, request)).function

    async def secrets(self, name: str) -> Sequence[secret_pb2.Secret]:
        """The secrets of a function by key: when each was set, and no values."""
        request = registry_service_pb2.ListSecretsRequest(parent=self._name(name))
        return await collect(self._connection, self._registry.ListSecrets, request, "secrets")

    async def secret_delete(self, name: str, key: str) -> function_pb2.Function:
        """Deletes a secret; rolled out like `env_set`. Raises NotFound."""
        request = registry_service_pb2.DeleteSecretRequest(name=f"{self._name(name)}/secrets/{key}")
        return (await self._connection.call(self._registry.DeleteSecret, request)).function

    async def _update(self, function: function_pb2.Function, mask: Sequence[str]) -> function_pb2.Function:
        return await self._connection.call(
            self._registry.UpdateFunction,
            registry_service_pb2.UpdateFunctionRequest(function=function, update_mask=FieldMask(paths=mask)),
        )

    async def rollback(self, name: str, to: int = 0) -> function_pb2.Function:
        """Brings back an earlier revision: the one of this number, or the one that served before."""
        return await self._connection.call(
            self._registry.RollbackFunction,
            registry_service_pb2.RollbackFunctionRequest(name=self._name(name), revision_number=to),
        )

    async def stop(self, name: str) -> function_pb2.Function:
        """Stops a function: nothing of it runs until it is deployed or rolled back."""
        request = registry_service_pb2.StopFunctionRequest(name=self._name(name))
        return await self._connection.call(self._registry.StopFunction, request)

    async def delete(self, name: str) -> None:
        """Deletes a function; its name and path are free at once."""
        await self._connection.call(
            self._registry.DeleteFunction, registry_service_pb2.DeleteFunctionRequest(name=self._name(name))
        )

    # -- workspaces --------------------------------------------------------------------------------------

    async def workspaces(self) -> Sequence[workspace_pb2.Workspace]:
        """The workspaces that the caller may see, by name."""
        request = registry_service_pb2.ListWorkspacesRequest()
        return await collect(self._connection, self._registry.ListWorkspaces, request, "workspaces")

    async def create_workspace(self, name: str, description: str = "") -> workspace_pb2.Workspace:
        """Makes a workspace; one that is deployed to comes into being by itself. Raises AlreadyExists."""
        workspace = workspace_pb2.Workspace(display_name=name, description=description)
        request = registry_service_pb2.CreateWorkspaceRequest(workspace=workspace)
        return await self._connection.call(self._registry.CreateWorkspace, request)

    async def delete_workspace(self, name: str) -> None:
        """Deletes a workspace and all that is in it: functions are deleted, jobs cancelled, keys revoked."""
        request = registry_service_pb2.DeleteWorkspaceRequest(name=workspace_name(name))
        await self._connection.call(self._registry.DeleteWorkspace, request)

    # -- running -----------------------------------------------------------------------------------------

    async def invoke(self, name: str, event: Any = None, *, timeout: Any = None) -> Answer:
        """Runs a function. `event` is bytes of JSON, or any value that becomes JSON; {} where None.

        An exception of the handler is an Answer of status 500, not an exception here.
        """
        payload = event if isinstance(event, bytes) else b"" if event is None else json.dumps(event).encode()
        request = invoke_service_pb2.InvokeRequest(name=self._name(name), payload=payload)
        limit_s = None
        if timeout is not None:
            request.timeout.FromTimedelta(parse_duration(timeout))
            limit_s = parse_duration(timeout).total_seconds() + 5
        response = await self._connection.call(self._invokes.Invoke, request, timeout_s=limit_s or 15 * 60.0)
        return Answer.of(response)

    async def executions(self, name: str, limit: int = 100) -> Sequence[invoke_pb2.Execution]:
        """The newest runs of a function, newest first."""
        request = invoke_service_pb2.ListExecutionsRequest(parent=self._name(name), page_size=min(limit, 1000))
        return await collect(self._connection, self._invokes.ListExecutions, request, "executions", limit)

    async def logs(
        self, name: str, *, follow: bool = False, tail: int = 0, trace_id: str = ""
    ) -> AsyncIterator[deployment_pb2.LogEntry]:
        """Log lines of a function, oldest first; with `follow` also those that come."""
        parent, seen = self._name(name), 0

        def request() -> deploy_service_pb2.ReadLogsRequest:
            return deploy_service_pb2.ReadLogsRequest(
                parent=parent, follow=follow, tail=0 if seen else tail, after_sequence=seen, trace_id=trace_id
            )

        async for entry in self._connection.resumed(self._deploys.ReadLogs, request):
            seen = max(seen, entry.sequence)
            yield entry

    # -- looking on --------------------------------------------------------------------------------------

    async def builds(self, name: str, limit: int = 100) -> Sequence[build_pb2.Build]:
        """The newest builds of a function, newest first."""
        request = build_service_pb2.ListBuildsRequest(parent=self._name(name), page_size=min(limit, 1000))
        return await collect(self._connection, self._builds.ListBuilds, request, "builds", limit)

    async def cancel_build(self, build: str) -> build_pb2.Build:
        """Stops a build, given by resource name."""
        return await self._connection.call(self._builds.CancelBuild, build_service_pb2.CancelBuildRequest(name=build))

    def build_events(self, build: str, after: int = 0) -> AsyncIterator[build_pb2.BuildEvent]:
        """The events of a build, given by resource name, after a number, to the final one."""
        return watch_build(self._connection, build, after)

    async def deployment(self, name: str) -> deployment_pb2.Deployment:
        """What is really there of a function."""
        request = deploy_service_pb2.GetDeploymentRequest(name=f"{self._name(name)}/deployment")
        return await self._connection.call(self._deploys.GetDeployment, request)

    def deployment_changes(self, name: str) -> AsyncIterator[deployment_pb2.Deployment]:
        """A function's deployment as it is, then after each change."""
        return watch_deployment(self._connection, self._name(name))

    async def trace(self, trace_id: str) -> trace_service_pb2.Trace:
        """The spans of a trace."""
        name = trace_id if trace_id.startswith("traces/") else f"traces/{trace_id}"
        request = trace_service_pb2.GetTraceRequest(name=name)
        return await self._connection.call(self._traces.GetTrace, request)

    async def targets(self) -> deploy_service_pb2.ListTargetsResponse:
        """Where functions can run in this mesh."""
        return await self._connection.call(self._deploys.ListTargets, deploy_service_pb2.ListTargetsRequest())

    async def health(self, service: str = "") -> bool:
        """Whether the mesh, or one service of it, serves. Raises Unreachable where none is there."""
        return await check_health(self._connection, service)

    # -- keys --------------------------------------------------------------------------------------------

    async def create_key(
        self,
        scopes: Iterable[str],
        *,
        display_name: str = "",
        workspace: str | None = None,
        expires: datetime | None = None,
    ) -> registry_service_pb2.CreateApiKeyResponse:
        """Makes an API key with scopes of admin, deploy, invoke; its secret is in this answer only."""
        key = api_key_pb2.ApiKey(display_name=display_name)
        for scope in scopes:
            if scope not in SCOPES:
                raise SourceError(f"'{scope}' is not a scope; there are {', '.join(SCOPES)}.")
            key.scopes.append(SCOPES[scope])
        if workspace:
            key.workspace = workspace_name(workspace)
        if expires is not None:
            key.expire_time.FromDatetime(expires)
        request = registry_service_pb2.CreateApiKeyRequest(api_key=key)
        return await self._connection.call(self._registry.CreateApiKey, request)

    async def keys(self) -> Sequence[api_key_pb2.ApiKey]:
        """All API keys, newest first, revoked ones too."""
        request = registry_service_pb2.ListApiKeysRequest()
        return await collect(self._connection, self._registry.ListApiKeys, request, "api_keys")

    async def revoke_key(self, key: str) -> api_key_pb2.ApiKey:
        """Revokes a key, by its identifier or resource name."""
        name = key if key.startswith("apiKeys/") else f"apiKeys/{key}"
        request = registry_service_pb2.RevokeApiKeyRequest(name=name)
        return await self._connection.call(self._registry.RevokeApiKey, request)

    def _name(self, name: str) -> str:
        return function_name(name, self.workspace)


async def _parts(filename: str, content: bytes) -> AsyncIterator[build_service_pb2.UploadSourceRequest]:
    yield build_service_pb2.UploadSourceRequest(filename=filename)
    for at in range(0, len(content), _CHUNK_BYTES):
        yield build_service_pb2.UploadSourceRequest(chunk=content[at : at + _CHUNK_BYTES])
