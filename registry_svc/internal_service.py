"""The service for the other services: messages to use cases and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as pb_grpc
from mesh.auth import KeyVerifier, Scope
from mesh.errors import NotFound
from mesh.keys import SCOPES
from mesh.names import WORKSPACE, format_name
from registry_svc import convert, reports, rollouts, rules
from registry_svc.context import Context
from registry_svc.domain import DeploymentState, Function, Runtime, Target
from registry_svc.settings import RegistrySettings
from registry_svc.watch import Bookmark, Reset, Snapshot, snapshots, watch_functions
from registry_svc.workspaces import find_or_create_workspace

NAME = "fnmesh.internal.registry.v1.RegistryInternalService"
_SCOPE_NUMBERS: dict[Scope, Any] = {scope: number for number, scope in SCOPES.items()}


class RegistryInternalServicer(pb_grpc.RegistryInternalServiceServicer):
    """fnmesh.internal.registry.v1.RegistryInternalService. Its callers are services and may do everything."""

    def __init__(self, context: Context, verifier: KeyVerifier, settings: RegistrySettings) -> None:
        self._context = context
        self._verifier = verifier
        self._settings = settings

    async def WatchFunctions(
        self, request: pb.WatchFunctionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchFunctionsResponse]:
        stream = watch_functions(
            self._context,
            request.after_version,
            poll_interval_s=self._settings.registry_poll_interval_s,
            max_age_s=self._settings.registry_watch_max_age_s,
        )
        async for item in stream:
            match item:
                case Snapshot():
                    yield pb.WatchFunctionsResponse(function=self._snapshot(item))
                case Bookmark(version):
                    yield pb.WatchFunctionsResponse(bookmark=pb.Bookmark(version=version))
                case Reset():
                    yield pb.WatchFunctionsResponse(reset=pb.Reset())

    async def CreateRevision(self, request: pb.CreateRevisionRequest, context: Any) -> pb.CreateRevisionResponse:
        if not 0 < len(request.build_uid) <= 64:
            rules.refuse("BUILD_UID_INVALID", "build_uid", "build_uid must have 1 to 64 characters.")
        async with self._context.write() as conn:
            function, revision = await rollouts.create_revision(
                self._context,
                conn,
                request.function,
                request.build_uid,
                runtime=convert.enum_of(Runtime, request.runtime, "runtime"),
                default_target=convert.enum_of(Target, request.default_target, "default_target"),
                local_target=convert.enum_of(Target, request.local_target, "local_target"),
                deploy=request.deploy,
                source_digest=rules.source_digest(request.source_digest),
            )
            return pb.CreateRevisionResponse(
                revision=convert.revision_to_proto(function, revision),
                function=await self._snapshot_of(conn, function),
            )

    async def ReportBuild(self, request: pb.ReportBuildRequest, context: Any) -> pb.ReportBuildResponse:
        artifact = None
        if request.HasField("artifact"):
            artifact = convert.artifact_from_proto(request.artifact)
            if not artifact.digest:
                rules.refuse("ARTIFACT_INVALID", "artifact.digest", "The artifact has no digest.")
        async with self._context.write() as conn:
            found = await rollouts.report_build(self._context, conn, request.revision, artifact, request.error)
        if found is None:
            return pb.ReportBuildResponse()
        return pb.ReportBuildResponse(revision=convert.revision_to_proto(*found))

    async def ReportDeployment(self, request: pb.ReportDeploymentRequest, context: Any) -> pb.ReportDeploymentResponse:
        async with self._context.write() as conn:
            await reports.report_deployment(
                self._context,
                conn,
                request.function_uid,
                report_version=request.report_version,
                state=convert.enum_of(DeploymentState, request.state, "state"),
                message=request.message,
            )
        return pb.ReportDeploymentResponse()

    async def ReportDeleted(self, request: pb.ReportDeletedRequest, context: Any) -> pb.ReportDeletedResponse:
        async with self._context.write() as conn:
            await self._context.functions.mark_gone(conn, request.function_uid, self._context.clock.now())
        return pb.ReportDeletedResponse()

    async def GetWorkload(self, request: pb.GetWorkloadRequest, context: Any) -> pb.GetWorkloadResponse:
        async with self._context.database.read() as conn:
            function, revision, secrets = await reports.workload(
                self._context, conn, request.function_uid, request.revision_number
            )
        return pb.GetWorkloadResponse(
            revision=convert.revision_to_proto(function, revision),
            env=revision.run.env,
            handler=revision.run.handler,
            event_format=int(revision.run.event_format),  # type: ignore[arg-type]
            function_display_name=function.spec.display_name,
            secrets=secrets,
        )

    async def ListLiveArtifacts(
        self, request: pb.ListLiveArtifactsRequest, context: Any
    ) -> pb.ListLiveArtifactsResponse:
        async with self._context.database.read() as conn:
            digests = await self._context.functions.live_artifacts(conn)
            sources = await self._context.functions.live_sources(conn)
        return pb.ListLiveArtifactsResponse(digests=digests, source_digests=sources)

    async def VerifyApiKey(self, request: pb.VerifyApiKeyRequest, context: Any) -> pb.VerifyApiKeyResponse:
        holder = await self._verifier.verify(request.secret)
        return pb.VerifyApiKeyResponse(
            key_id=holder.key_id,
            scopes=sorted(_SCOPE_NUMBERS[scope] for scope in holder.scopes),
            workspace=format_name(WORKSPACE, holder.workspace) if holder.workspace else "",
        )

    async def ResolveFunction(self, request: pb.ResolveFunctionRequest, context: Any) -> pb.FunctionSnapshot:
        async with self._context.database.read() as conn:
            function = await self._context.function(conn, request.name, scope=Scope.INVOKE)
            return await self._snapshot_of(conn, function)

    async def ResolveWorkspace(self, request: pb.ResolveWorkspaceRequest, context: Any) -> pb.ResolveWorkspaceResponse:
        try:
            async with self._context.database.read() as conn:
                workspace = await self._context.workspace(conn, request.name)
        except NotFound:
            if not request.create:
                raise
            async with self._context.write() as conn:
                workspace = await find_or_create_workspace(self._context, conn, request.name)
        return pb.ResolveWorkspaceResponse(uid=workspace.uid, display_name=workspace.display_name)

    async def _snapshot_of(self, conn: AsyncConnection, function: Function) -> pb.FunctionSnapshot:
        (snapshot,) = await snapshots(self._context, conn, [function])
        return self._snapshot(snapshot)

    def _snapshot(self, item: Snapshot) -> pb.FunctionSnapshot:
        found = convert.snapshot_to_proto(item.function, item.serving_limits, item.workspace_display_name)
        if not self._context.invocation_urls.allow(found.function.invocation_url):  # any more, perhaps
            found.function.invocation_url = ""
        return found
