"""The registry over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from build_svc import messages
from build_svc.domain import Build, BuildState, FunctionFacts, Live, Runtime, Target
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as pb_grpc
from fnmesh.registry.v1 import function_pb2 as functions
from fnmesh.registry.v1 import registry_service_pb2 as public
from fnmesh.registry.v1 import registry_service_pb2_grpc as public_grpc
from mesh import deadline

_REPORT_S = 10.0


class GrpcRegistry:
    """`ports.Registry` over a channel of `mesh.rpc_client`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.RegistryInternalServiceStub(channel)
        self._public = public_grpc.RegistryServiceStub(channel)

    async def resolve(self, name: str) -> FunctionFacts:
        snapshot = await self._stub.ResolveFunction(pb.ResolveFunctionRequest(name=name))
        return _facts(snapshot.function)

    async def workspace_id(self, workspace: str) -> str:
        if workspace.startswith("ws-"):
            return workspace
        found = await self._public.GetWorkspace(public.GetWorkspaceRequest(name=f"workspaces/{workspace}"))
        return found.uid

    async def create_revision(
        self, build: Build, runtime: Runtime | None, default_target: Target
    ) -> tuple[str, FunctionFacts]:
        request = pb.CreateRevisionRequest(
            function=build.function,
            build_uid=build.uid,
            runtime=messages.RUNTIMES[runtime] if runtime else functions.RUNTIME_UNSPECIFIED,
            default_target=messages.TARGETS[default_target],
            deploy=build.deploy,
            source_digest=build.source_digest,
        )
        if build.pushed_only:
            request.local_target = messages.TARGETS[Target.SPIN if runtime is Runtime.SPIN else Target.DOCKER]
        answer = await self._stub.CreateRevision(request)
        facts = _facts(answer.function.function)
        made = answer.revision
        return made.name, FunctionFacts(
            facts.name,
            facts.uid,
            messages.runtime_name(made.runtime) or facts.runtime,
            messages.target_name(made.target) or facts.target,
            facts.handler,
        )

    async def report(self, build: Build) -> None:
        request = pb.ReportBuildRequest(revision=build.revision)
        if build.state is BuildState.DONE and build.artifact is not None:
            request.artifact.CopyFrom(messages.artifact_message(build.artifact))
        else:
            request.error = build.error or "The build failed."
        await self._stub.ReportBuild(request, timeout=_REPORT_S)

    async def live(self) -> Live:
        answer = await self._stub.ListLiveArtifacts(pb.ListLiveArtifactsRequest())
        return Live(frozenset(answer.digests), frozenset(answer.source_digests))

    async def deleted_functions(self) -> AsyncIterator[str]:
        with deadline.detached():
            async for message in self._stub.WatchFunctions(pb.WatchFunctionsRequest()):
                if message.WhichOneof("message") == "function" and message.function.deleted:
                    yield message.function.function.uid


def _facts(function: functions.Function) -> FunctionFacts:
    return FunctionFacts(
        name=function.name,
        uid=function.uid,
        runtime=messages.runtime_name(function.runtime),
        target=messages.target_name(function.target),
        handler=function.handler or "handler",
        source_digest=function.source_digest,
    )
