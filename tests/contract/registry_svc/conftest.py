"""A registry over real gRPC, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as internal_grpc
from fnmesh.registry.v1 import function_pb2, registry_service_pb2_grpc, revision_pb2
from fnmesh.registry.v1 import registry_service_pb2 as pb
from mesh.auth import ServiceToken
from mesh.clock import FakeClock
from mesh.rpc_client import open_channel
from registry_svc.app import running
from registry_svc.settings import RegistrySettings

TOKEN = ServiceToken("s" * 40)


class Registry:
    """Stubs of a running registry, and the calls that most tests begin with."""

    def __init__(self, public: Any, internal: Any, clock: FakeClock, settings: RegistrySettings) -> None:
        self.public: registry_service_pb2_grpc.RegistryServiceAsyncStub = public
        self.internal: internal_grpc.RegistryInternalServiceAsyncStub = internal
        self.clock = clock
        self.settings = settings
        self.metadata: Any = ()

    async def create(self, name: str = "hello", workspace: str = "default", **fields: Any) -> Any:
        """A new function."""
        return await self.public.CreateFunction(
            pb.CreateFunctionRequest(
                parent=f"workspaces/{workspace}",
                function=function_pb2.Function(display_name=name, **fields),
            ),
            metadata=self.metadata,
        )

    async def get(self, name: str, reveal: bool = True) -> Any:
        """The function as it is now."""
        return await self.public.GetFunction(
            pb.GetFunctionRequest(name=name, reveal_env=reveal), metadata=self.metadata
        )

    async def update(self, name: str, *paths: str, defer: bool = False, etag: str = "", **fields: Any) -> Any:
        """The function with other fields."""
        request = pb.UpdateFunctionRequest(
            function=function_pb2.Function(name=name, etag=etag, **fields), defer_rollout=defer
        )
        request.update_mask.paths.extend(paths)
        return await self.public.UpdateFunction(request, metadata=self.metadata)

    async def begin(self, name: str, build: str, deploy: bool = True) -> revision_pb2.Revision:
        """A build begins."""
        answer = await self.internal.CreateRevision(
            internal_pb.CreateRevisionRequest(
                function=name,
                build_uid=build,
                runtime=function_pb2.RUNTIME_PYTHON,
                default_target=function_pb2.TARGET_PROCESS,
                deploy=deploy,
            )
        )
        return answer.revision

    async def finish(self, revision: revision_pb2.Revision, digest: str = "a") -> revision_pb2.Revision:
        """A build ends well."""
        artifact = revision_pb2.Artifact(
            digest=artifact_digest(digest),
            kind=revision_pb2.ARTIFACT_KIND_TREE,
            reference="blob",
            entry_file="handler.py",
        )
        answer = await self.internal.ReportBuild(
            internal_pb.ReportBuildRequest(revision=revision.name, artifact=artifact)
        )
        return answer.revision

    async def build(self, name: str, build: str, digest: str = "a") -> revision_pb2.Revision:
        """A whole build that is deployed."""
        return await self.finish(await self.begin(name, build), digest)

    async def serving(self, name: str) -> tuple[int, dict[str, str]]:
        """Number and env of what should serve."""
        function = await self.get(name)
        if not function.serving_revision:
            return 0, {}
        number = int(function.serving_revision.rpartition("/")[2])
        workload = await self.workload(function.uid, number)
        return number, dict(workload.env)

    async def workload(self, uid: str, number: int) -> internal_pb.GetWorkloadResponse:
        return await self.internal.GetWorkload(internal_pb.GetWorkloadRequest(function_uid=uid, revision_number=number))

    def watch(self, after: int = 0) -> Any:
        return self.internal.WatchFunctions(internal_pb.WatchFunctionsRequest(after_version=after))


def artifact_digest(letter: str) -> str:
    """A digest, by one hex digit."""
    return "sha256:" + letter * 64


@pytest.fixture
def settings(database_url: str, tmp_path: Path, tmp_run_dir: Path) -> RegistrySettings:
    (tmp_run_dir / "token").write_text(TOKEN.value)
    return RegistrySettings(
        data_dir=tmp_path / "data",
        run_dir=tmp_run_dir,
        database_url=database_url,
        registry_poll_interval_s=0.1,
        registry_drain_s=1,
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def connect(stack: AsyncExitStack, settings: RegistrySettings, clock: FakeClock) -> Registry:
    """A registry that runs until the stack is closed."""
    bound = await stack.enter_async_context(running(settings, clock=clock, join=False))
    public = await stack.enter_async_context(open_channel(bound.address))
    internal = await stack.enter_async_context(open_channel(bound.address, token=TOKEN))
    return Registry(
        registry_service_pb2_grpc.RegistryServiceStub(public),
        internal_grpc.RegistryInternalServiceStub(internal),
        clock,
        settings,
    )


@pytest.fixture
def connect_registry() -> Callable[[AsyncExitStack, RegistrySettings, FakeClock], Awaitable[Registry]]:
    """`connect`, for tests that start registries themselves."""
    return connect


@pytest.fixture
async def registry(settings: RegistrySettings, clock: FakeClock) -> AsyncIterator[Registry]:
    async with AsyncExitStack() as stack:
        yield await connect(stack, settings, clock)
