"""The client against a scripted mesh on a real port: errors, retries, streams that break."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from fnmesh.build.v1 import build_pb2, build_service_pb2, build_service_pb2_grpc
from fnmesh.client import (
    AsyncMesh,
    BuildFailed,
    DeployFailed,
    InvalidArgument,
    Mesh,
    NotFound,
    Unavailable,
    Unreachable,
)
from fnmesh.deploy.v1 import deploy_service_pb2, deploy_service_pb2_grpc, deployment_pb2
from fnmesh.registry.v1 import function_pb2, registry_service_pb2, registry_service_pb2_grpc

NAME = "workspaces/default/functions/hello"
Context = grpc.aio.ServicerContext


async def _abort(context: Context, code: grpc.StatusCode, message: str, *details: object) -> None:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)  # type: ignore[arg-type]  # details are messages
        status.details.append(packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, message)


class Registry(registry_service_pb2_grpc.RegistryServiceServicer):
    def __init__(self) -> None:
        self.unavailable = 0
        self.says = grpc.StatusCode.UNAVAILABLE
        self.functions: dict[str, function_pb2.Function] = {}
        self.updates: list[registry_service_pb2.UpdateFunctionRequest] = []
        self.seen_keys: list[str] = []

    async def GetFunction(  # type: ignore[override]
        self, request: registry_service_pb2.GetFunctionRequest, context: Context
    ) -> function_pb2.Function:
        metadata = dict(context.invocation_metadata() or ())
        self.seen_keys.append(str(metadata.get("authorization", "")))
        if self.unavailable:
            self.unavailable -= 1
            await context.abort(self.says, "not now")
        if request.name not in self.functions:
            info = error_details_pb2.ErrorInfo(reason="FUNCTION_NOT_FOUND", domain="fnmesh", metadata={"name": "x"})
            await _abort(context, grpc.StatusCode.NOT_FOUND, "There is no function 'hello'.", info)
        return self.functions[request.name]

    async def CreateFunction(  # type: ignore[override]
        self, request: registry_service_pb2.CreateFunctionRequest, context: Context
    ) -> function_pb2.Function:
        if request.function.path == "v1":
            await _abort(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "The request is wrong.",
                error_details_pb2.ErrorInfo(reason="PATH_RESERVED", domain="fnmesh"),
                error_details_pb2.BadRequest(
                    field_violations=[error_details_pb2.BadRequest.FieldViolation(field="path", description="reserved")]
                ),
            )
        function = request.function
        function.name = f"{request.parent}/functions/{function.display_name}"
        function.path = function.path or function.display_name
        function.serving_revision = f"{function.name}/revisions/2"
        self.functions[function.name] = function
        return function

    async def UpdateFunction(  # type: ignore[override]
        self, request: registry_service_pb2.UpdateFunctionRequest, context: Context
    ) -> function_pb2.Function:
        self.updates.append(request)
        return self.functions[request.function.name]

    async def ListFunctions(  # type: ignore[override]
        self, request: registry_service_pb2.ListFunctionsRequest, context: Context
    ) -> registry_service_pb2.ListFunctionsResponse:
        page = int(request.page_token or 0)
        return registry_service_pb2.ListFunctionsResponse(
            functions=[function_pb2.Function(display_name=f"f{page}")],
            next_page_token=str(page + 1) if page < 2 else "",
        )


class Builds(build_service_pb2_grpc.BuildServiceServicer):
    """A build of six events whose stream breaks after every second one."""

    def __init__(self) -> None:
        self.uploaded = b""
        self.ends = build_pb2.BUILD_STATE_DONE
        self.asked_after: list[int] = []

    async def UploadSource(  # type: ignore[override]
        self, requests: AsyncIterator[build_service_pb2.UploadSourceRequest], context: Context
    ) -> build_service_pb2.UploadSourceResponse:
        async for request in requests:
            self.uploaded += request.chunk
        return build_service_pb2.UploadSourceResponse(source_digest="sha256:0", size_bytes=len(self.uploaded))

    async def CreateBuild(  # type: ignore[override]
        self, request: build_service_pb2.CreateBuildRequest, context: Context
    ) -> build_pb2.Build:
        return self._build(build_pb2.BUILD_STATE_PENDING)

    async def WatchBuild(  # type: ignore[override]
        self, request: build_service_pb2.WatchBuildRequest, context: Context
    ) -> AsyncIterator[build_pb2.BuildEvent]:
        self.asked_after.append(request.after_sequence)
        for number in range(request.after_sequence + 1, min(request.after_sequence + 3, 7)):
            yield self._event(number)
        if request.after_sequence < 4:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")

    def _event(self, number: int) -> build_pb2.BuildEvent:
        if number == 6:
            change = build_pb2.StateChange(state=self.ends, build=self._build(self.ends))
            return build_pb2.BuildEvent(sequence=6, state_change=change)
        return build_pb2.BuildEvent(sequence=number, log_line=build_pb2.LogLine(text=f"line {number}"))

    def _build(self, state: build_pb2.BuildState.ValueType) -> build_pb2.Build:
        error = "no such library" if state == build_pb2.BUILD_STATE_FAILED else ""
        return build_pb2.Build(name=f"{NAME}/builds/b", state=state, revision=f"{NAME}/revisions/2", error=error)


class Deploys(deploy_service_pb2_grpc.DeployServiceServicer):
    def __init__(self) -> None:
        self.ends: function_pb2.DeploymentState.ValueType = function_pb2.DEPLOYMENT_STATE_READY

    async def WatchDeployment(  # type: ignore[override]
        self, request: deploy_service_pb2.WatchDeploymentRequest, context: Context
    ) -> AsyncIterator[deployment_pb2.Deployment]:
        ready, starting = function_pb2.DEPLOYMENT_STATE_READY, function_pb2.DEPLOYMENT_STATE_STARTING
        yield deployment_pb2.Deployment(desired_revision=1, state=ready)  # the old one is not the answer
        yield deployment_pb2.Deployment(desired_revision=2, state=starting)
        yield deployment_pb2.Deployment(desired_revision=2, state=self.ends, message="import failed")

    async def ReadLogs(  # type: ignore[override]
        self, request: deploy_service_pb2.ReadLogsRequest, context: Context
    ) -> AsyncIterator[deployment_pb2.LogEntry]:
        for number in range(request.after_sequence + 1, 6):
            yield deployment_pb2.LogEntry(sequence=number, text=str(number))
            if number == 3 and request.after_sequence < 3:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")


class ScriptedMesh:
    def __init__(self) -> None:
        self.registry, self.builds, self.deploys = Registry(), Builds(), Deploys()
        self.address = ""


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedMesh]:
    mesh, server = ScriptedMesh(), grpc.aio.server()
    registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(mesh.registry, server)
    build_service_pb2_grpc.add_BuildServiceServicer_to_server(mesh.builds, server)
    deploy_service_pb2_grpc.add_DeployServiceServicer_to_server(mesh.deploys, server)
    mesh.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield mesh
    await server.stop(0)


@pytest.fixture
async def client(scripted: ScriptedMesh) -> AsyncIterator[AsyncMesh]:
    async with AsyncMesh(scripted.address, api_key="fnm_key") as mesh:
        yield mesh


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "handler.py").write_text("def handler(event): return 1\n")
    return tmp_path / "hello"


async def test_errors_have_their_type_reason_and_details(client: AsyncMesh, source: Path) -> None:
    with pytest.raises(NotFound) as missing:
        await client.show("hello")
    with pytest.raises(InvalidArgument) as reserved:
        await client.deploy(source, path="v1")

    assert (str(missing.value), missing.value.reason) == (
        "There is no function 'hello'.",
        "FUNCTION_NOT_FOUND",
    )
    assert missing.value.metadata == {"name": "x"}
    assert reserved.value.fields == (("path", "reserved"),)


@pytest.mark.parametrize("says", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_reads_are_repeated_and_writes_are_not(
    client: AsyncMesh, scripted: ScriptedMesh, says: grpc.StatusCode
) -> None:
    scripted.registry.functions[NAME] = function_pb2.Function(name=NAME)
    scripted.registry.says = says  # CANCELLED: by a server that stopped before the call had got to its handler
    scripted.registry.unavailable = 2

    assert (await client.show("hello")).name == NAME

    scripted.registry.unavailable = 100
    with pytest.raises(Unavailable):
        await client.show("hello")


async def test_key_is_sent(client: AsyncMesh, scripted: ScriptedMesh) -> None:
    scripted.registry.functions[NAME] = function_pb2.Function(name=NAME)
    await client.show("hello")
    assert scripted.registry.seen_keys == ["Bearer fnm_key"]


async def test_lists_are_whole(client: AsyncMesh) -> None:
    assert [function.display_name for function in await client.list()] == ["f0", "f1", "f2"]


async def test_build_events_survive_broken_streams(client: AsyncMesh, scripted: ScriptedMesh, source: Path) -> None:
    deploy = await client.deploy(source)

    numbers = [event.sequence async for event in deploy.events()]

    assert numbers == [1, 2, 3, 4, 5, 6]
    assert scripted.builds.asked_after == [0, 2, 4]
    assert deploy.build.state == build_pb2.BUILD_STATE_DONE
    assert scripted.builds.uploaded.startswith(b"PK")


async def test_deploy_waits_for_the_new_revision(client: AsyncMesh, source: Path) -> None:
    deploy = await client.deploy(source)
    await deploy.wait(timeout_s=20)
    assert deploy.url.endswith("/api/hello")
    assert deploy.revision == 2


async def test_second_deploy_changes_only_what_was_said(
    client: AsyncMesh, scripted: ScriptedMesh, source: Path
) -> None:
    await client.deploy(source, memory="64Mi")
    await client.deploy(source)
    assert scripted.registry.updates == []

    await client.deploy(source, env={"A": "1"}, memory="128Mi")

    (update,) = scripted.registry.updates
    assert sorted(update.update_mask.paths) == ["env.A", "limits.memory_bytes"]
    assert update.defer_rollout


async def test_failed_build_and_failed_rollout_are_told_apart(
    client: AsyncMesh, scripted: ScriptedMesh, source: Path
) -> None:
    scripted.deploys.ends = function_pb2.DEPLOYMENT_STATE_FAILED
    with pytest.raises(DeployFailed, match="import failed"):
        await (await client.deploy(source)).wait(20)

    scripted.builds.ends = build_pb2.BUILD_STATE_FAILED
    with pytest.raises(BuildFailed, match="no such library"):
        await (await client.deploy(source)).wait(20)


async def test_logs_resume_where_they_broke(client: AsyncMesh) -> None:
    assert [entry.sequence async for entry in client.logs("hello")] == [1, 2, 3, 4, 5]


async def test_nobody_there(source: Path) -> None:
    async with AsyncMesh("127.0.0.1:1") as mesh:
        with pytest.raises(Unreachable, match=r"No mesh answers at http://127\.0\.0\.1:1\."):
            await mesh.list()
        with pytest.raises(Unreachable):
            await anext(mesh.logs("hello"))


def test_the_synchronous_face_does_the_same(source: Path, sync_address: str) -> None:
    with Mesh(sync_address) as mesh:
        deploy = mesh.deploy(source)
        assert [event.sequence for event in deploy.events()] == [1, 2, 3, 4, 5, 6]
        assert deploy.wait(20).display_name == "hello"
        assert [entry.text for entry in mesh.logs("hello")] == ["1", "2", "3", "4", "5"]
        first = next(iter(mesh.logs("hello")))
        with pytest.raises(NotFound):
            mesh.show("other")
    assert first.sequence == 1
