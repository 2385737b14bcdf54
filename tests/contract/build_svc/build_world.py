"""build_svc as a whole over real gRPC, beside a registry that does what it is told."""

from __future__ import annotations

import asyncio
import functools
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from build_svc import app
from build_svc.app import open_workshop
from build_svc.settings import BuildSettings
from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.build.v1 import build_service_pb2_grpc as pb_grpc
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as registry_pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as registry_grpc
from fnmesh.registry.v1 import api_key_pb2, function_pb2, revision_pb2, workspace_pb2
from fnmesh.registry.v1 import registry_service_pb2_grpc as public_grpc
from mesh.auth import Authenticator, ServiceToken
from mesh.errors import NotFound, Unauthenticated, Unavailable
from mesh.rpc_client import open_channel
from mesh.rpc_server import serve

FINAL = {builds.BUILD_STATE_DONE, builds.BUILD_STATE_FAILED, builds.BUILD_STATE_CANCELLED}
NO_DOCKER = "unix:///nonexistent/docker.sock"
HELLO = "workspaces/default/functions/hello"


class FakeRegistry(registry_grpc.RegistryInternalServiceServicer):
    """Functions `workspaces/default/functions/<name>` with ids `ws-default` and `fn-<name>`."""

    def __init__(self) -> None:
        self.functions: dict[str, function_pb2.Function] = {}
        self.revisions: dict[str, revision_pb2.Revision] = {}
        self.of_build: dict[str, str] = {}
        self.reports: list[registry_pb.ReportBuildRequest] = []
        self.live: set[str] = set()
        self.deleted: asyncio.Queue[str] = asyncio.Queue()
        self.keys: dict[str, str] = {}
        self.down = False
        self.makes_revisions = True
        self.moved_to: function_pb2.Target.ValueType = function_pb2.TARGET_UNSPECIFIED
        """The target of all functions by the time that a revision is made."""
        self.add("hello")

    def add(self, name: str, **settings: Any) -> function_pb2.Function:
        made = function_pb2.Function(
            name=f"workspaces/ws-default/functions/fn-{name}", uid=f"fn-{name}", display_name=name, **settings
        )
        self.functions[name] = made
        return made

    def _find(self, name: str) -> function_pb2.Function:
        if self.down:
            raise Unavailable("DOWN", "The registry is down.", retry_after_s=0)
        key = name.split("/")[-1].removeprefix("fn-")
        if key not in self.functions:
            raise NotFound("FUNCTION_NOT_FOUND", f"There is no function '{name}'.")
        return self.functions[key]

    async def ResolveFunction(self, request: Any, context: Any) -> registry_pb.FunctionSnapshot:
        return registry_pb.FunctionSnapshot(function=self._find(request.name), version=1)

    async def CreateRevision(self, request: Any, context: Any) -> registry_pb.CreateRevisionResponse:
        function = self._find(request.function)
        if not self.makes_revisions:
            raise Unavailable("DATABASE_UNAVAILABLE", "The registry has no database now.", retry_after_s=0)
        if request.build_uid not in self.of_build:
            number = len(self.revisions) + 1
            target = self.moved_to or function.target or request.default_target
            if target == function_pb2.TARGET_KUBERNETES:
                target = request.local_target or target
            revision = revision_pb2.Revision(
                name=f"{function.name}/revisions/{number}",
                number=number,
                runtime=request.runtime or function.runtime,
                target=target,
            )
            self.of_build[request.build_uid] = revision.name
            self.revisions[revision.name] = revision
        revision = self.revisions[self.of_build[request.build_uid]]
        snapshot = registry_pb.FunctionSnapshot(function=function, version=1)
        return registry_pb.CreateRevisionResponse(revision=revision, function=snapshot)

    async def ReportBuild(self, request: Any, context: Any) -> registry_pb.ReportBuildResponse:
        if self.down:
            raise Unavailable("DOWN", "The registry is down.", retry_after_s=0)
        self.reports.append(request)
        if request.HasField("artifact"):
            self.live.add(request.artifact.digest)
        return registry_pb.ReportBuildResponse()

    async def VerifyApiKey(self, request: Any, context: Any) -> registry_pb.VerifyApiKeyResponse:
        if request.secret not in self.keys:
            raise Unauthenticated("KEY_INVALID", "The API key is unknown.")
        return registry_pb.VerifyApiKeyResponse(
            key_id="key", scopes=[api_key_pb2.SCOPE_DEPLOY], workspace=self.keys[request.secret]
        )

    async def ListLiveArtifacts(self, request: Any, context: Any) -> registry_pb.ListLiveArtifactsResponse:
        if self.down:
            raise Unavailable("DOWN", "The registry is down.", retry_after_s=0)
        return registry_pb.ListLiveArtifactsResponse(digests=sorted(self.live))

    async def WatchFunctions(self, request: Any, context: Any) -> AsyncIterator[registry_pb.WatchFunctionsResponse]:
        while True:
            uid = await self.deleted.get()
            function = function_pb2.Function(uid=uid)
            yield registry_pb.WatchFunctionsResponse(
                function=registry_pb.FunctionSnapshot(function=function, deleted=True)
            )


class FakeWorkspaces(public_grpc.RegistryServiceServicer):
    """The workspace `default`, which is `ws-default`."""

    async def GetWorkspace(self, request: Any, context: Any) -> workspace_pb2.Workspace:
        if request.name != "workspaces/default":
            raise NotFound("WORKSPACE_NOT_FOUND", f"There is no workspace '{request.name}'.")
        return workspace_pb2.Workspace(name="workspaces/ws-default", uid="ws-default", display_name="default")


class World:
    """A registry that stays, and a build_svc that can be stopped and started again on the same data."""

    def __init__(self, root: Path, run_dir: Path, environ: Mapping[str, str], docker_host: str) -> None:
        self.surroundings = {**os.environ, "DOCKER_HOST": docker_host}
        self.registry = FakeRegistry()
        self.token = ServiceToken("a-service-token-for-tests")
        run_dir.joinpath("token").write_text(self.token.value)
        self.environ = {
            "FNMESH_DATA_DIR": str(root),
            "FNMESH_RUN_DIR": str(run_dir),
            "FNMESH_MESH_ID": "test-mesh-" + run_dir.name,
            "FNMESH_REGISTRY_ADDRESS": f"unix:{run_dir}/registry.sock",
            "FNMESH_BUILD_ADDRESS": f"unix:{run_dir}/build.sock",
            "FNMESH_GATEWAY_ADDRESS": f"unix:{run_dir}/gateway.sock",
            **environ,
        }

    @asynccontextmanager
    async def registry_running(self) -> AsyncIterator[None]:
        def register(server: grpc.aio.Server) -> None:
            registry_grpc.add_RegistryInternalServiceServicer_to_server(self.registry, server)
            public_grpc.add_RegistryServiceServicer_to_server(FakeWorkspaces(), server)

        async with serve(
            self.environ["FNMESH_REGISTRY_ADDRESS"],
            register,
            public_services=["fnmesh.registry.v1.RegistryService"],
            internal_services=["fnmesh.internal.registry.v1.RegistryInternalService"],
            auth=Authenticator("off", self.token),
            drain_s=0.1,
        ):
            yield

    def settings(self, **more: str) -> BuildSettings:
        return BuildSettings.load({**self.environ, **more})

    def remove_workshop(self) -> None:
        """Builds run outside a data directory that other users cannot get to; the test's end does not remove that."""
        workshop = open_workshop(self.settings())
        if workshop.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(workshop)

    @asynccontextmanager
    async def build_svc(self, **more: str) -> AsyncIterator[Client]:
        async with (
            app.running(self.settings(**more), environ=self.surroundings) as bound,
            self.client(bound.address) as client,
        ):
            yield client

    @asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[Client]:
        async with open_channel(address, default_deadline_s=30) as channel:
            yield Client(channel)


class Keyed:
    """A stub whose calls carry an API key."""

    def __init__(self, stub: Any, key: str) -> None:
        self._stub = stub
        self._metadata = (("authorization", f"Bearer {key}"),)

    def __getattr__(self, name: str) -> Any:
        return functools.partial(getattr(self._stub, name), metadata=self._metadata)


class Client:
    """What a user of BuildService does, in a word each."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._plain = pb_grpc.BuildServiceStub(channel)
        self.stub: Any = self._plain

    def use_key(self, key: str) -> None:
        """From now on call with this API key."""
        self.stub = Keyed(self._plain, key)

    async def serves(self) -> bool:
        """Whether it is up."""
        try:
            await self.stub.ListBuilds(pb.ListBuildsRequest(parent=HELLO))
        except Unavailable:
            return False
        return True

    async def upload(self, filename: str, data: bytes, piece: int = 512 * 1024) -> str:
        async def parts() -> AsyncIterator[pb.UploadSourceRequest]:
            yield pb.UploadSourceRequest(filename=filename)
            for start in range(0, len(data), piece):
                yield pb.UploadSourceRequest(chunk=data[start : start + piece])

        answer = await self.stub.UploadSource(parts())
        assert answer.size_bytes == len(data)
        return str(answer.source_digest)

    async def create(
        self, digest: str, function: str = HELLO, request_id: str = "", deploy: bool = False
    ) -> builds.Build:
        build = builds.Build(source_digest=digest, deploy=deploy)
        request = pb.CreateBuildRequest(parent=function, build=build, request_id=request_id)
        made: builds.Build = await self.stub.CreateBuild(request)
        return made

    async def get(self, name: str) -> builds.Build:
        found: builds.Build = await self.stub.GetBuild(pb.GetBuildRequest(name=name))
        return found

    async def watch(self, name: str, after: int = 0) -> AsyncIterator[builds.BuildEvent]:
        async for event in self.stub.WatchBuild(pb.WatchBuildRequest(name=name, after_sequence=after)):
            yield event

    async def ended(self, name: str) -> tuple[builds.Build, list[builds.BuildEvent]]:
        events = [event async for event in self.watch(name)]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        last = events[-1].state_change
        assert last.state in FINAL
        return last.build, events

    async def build(
        self, filename: str, data: bytes, function: str = HELLO
    ) -> tuple[builds.Build, list[builds.BuildEvent]]:
        made = await self.create(await self.upload(filename, data), function)
        return await self.ended(made.name)


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def lines(events: list[builds.BuildEvent]) -> list[str]:
    return [event.log_line.text for event in events if event.WhichOneof("event") == "log_line"]


@asynccontextmanager
async def running_world(
    root: Path, run_dir: Path, *, docker_host: str = NO_DOCKER, **environ: str
) -> AsyncIterator[tuple[World, Client]]:
    async with AsyncExitStack() as stack:
        world = World(root, run_dir, environ, docker_host)
        stack.callback(world.remove_workshop)
        await stack.enter_async_context(world.registry_running())
        yield world, await stack.enter_async_context(world.build_svc())
