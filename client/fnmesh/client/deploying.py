"""One deploy under way: its build's events as they come, then its instances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fnmesh.build.v1 import build_pb2, build_service_pb2
from fnmesh.build.v1.build_service_pb2_grpc import BuildServiceStub
from fnmesh.client.connection import Connection
from fnmesh.client.errors import BuildFailed, DeployFailed
from fnmesh.client.names import revision_number
from fnmesh.deploy.v1 import deploy_service_pb2, deployment_pb2
from fnmesh.deploy.v1.deploy_service_pb2_grpc import DeployServiceStub
from fnmesh.registry.v1 import function_pb2, registry_service_pb2
from fnmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub

FINAL_STATES = (
    build_pb2.BUILD_STATE_DONE,
    build_pb2.BUILD_STATE_FAILED,
    build_pb2.BUILD_STATE_CANCELLED,
)


async def watch_build(connection: Connection, name: str, after: int = 0) -> AsyncIterator[build_pb2.BuildEvent]:
    """The events of a build after a number, to the final one; nothing is lost or repeated on the way."""
    builds = BuildServiceStub(connection.channel)
    seen = after

    def request() -> build_service_pb2.WatchBuildRequest:
        return build_service_pb2.WatchBuildRequest(name=name, after_sequence=seen)

    async for event in connection.resumed(builds.WatchBuild, request):
        if event.sequence > seen:
            seen = event.sequence
            yield event
            if event.WhichOneof("event") == "state_change" and event.state_change.state in FINAL_STATES:
                return


async def watch_deployment(connection: Connection, function: str) -> AsyncIterator[deployment_pb2.Deployment]:
    """A function's deployment as it is, then after each change, for as long as it is read."""
    deployments = DeployServiceStub(connection.channel)
    request = deploy_service_pb2.WatchDeploymentRequest(name=f"{function}/deployment")
    async for deployment in connection.resumed(deployments.WatchDeployment, lambda: request):
        yield deployment


async def watch_rollout(
    connection: Connection, function: str, revision: int
) -> AsyncIterator[deployment_pb2.Deployment]:
    """A deployment's states until this revision is ready, or is no longer the one that should serve.

    Raises DeployFailed.
    """
    registry = RegistryServiceStub(connection.channel)
    request = registry_service_pb2.GetFunctionRequest(name=function)
    async for deployment in watch_deployment(connection, function):
        yield deployment
        if deployment.desired_revision != revision:  # not there yet, or overtaken: the registry knows
            wanted = await connection.call(registry.GetFunction, request)
            if revision_number(wanted.serving_revision) != revision:
                return
        elif deployment.state == function_pb2.DEPLOYMENT_STATE_READY:
            return
        elif deployment.state == function_pb2.DEPLOYMENT_STATE_FAILED:
            raise DeployFailed(deployment.message or f"Revision {revision} did not come up.", deployment)
    raise DeployFailed(f"The mesh stopped telling about revision {revision} before it was ready.")


class AsyncDeploy:
    """A deploy that was accepted. It goes on in the mesh whether or not anybody looks."""

    def __init__(
        self,
        connection: Connection,
        function: function_pb2.Function,
        build: build_pb2.Build,
        source_digest: str,
    ) -> None:
        self._connection = connection
        self.function = function
        self.build = build
        self.source_digest = source_digest
        self._seen = 0

    @property
    def url(self) -> str:
        """Where the function answers."""
        return f"{self._connection.address.url}/api/{self.function.path}"

    @property
    def revision(self) -> int:
        """Number of the revision being deployed; 0 while it is not known."""
        return revision_number(self.build.revision)

    async def events(self) -> AsyncIterator[build_pb2.BuildEvent]:
        """The build's events that were not read yet, to the final one; `build` is kept up to date."""
        if self.build.state in FINAL_STATES and self._seen >= self.build.last_sequence:
            return
        async for event in watch_build(self._connection, self.build.name, self._seen):
            self._seen = event.sequence
            if event.WhichOneof("event") == "state_change":
                self.build = event.state_change.build
            yield event

    async def rollout(self) -> AsyncIterator[deployment_pb2.Deployment]:
        """What becomes of the instances, until the new revision is ready.

        Raises BuildFailed (the build must have ended) and DeployFailed; NotFound where the function was deleted.
        """
        if self.build.state == build_pb2.BUILD_STATE_CANCELLED:
            await self._read()  # a delete cancels the builds, too, and then says more than they do
        if self.build.state != build_pb2.BUILD_STATE_DONE:
            raise BuildFailed(self.build)
        async for deployment in watch_rollout(self._connection, self.function.name, self.revision):
            yield deployment

    async def wait(self, timeout_s: float = 900.0) -> function_pb2.Function:
        """The function, once the new revision answers. Raises as `rollout` does, and TimeoutError."""
        async with asyncio.timeout(timeout_s):
            async for _ in self.events():
                pass
            async for _ in self.rollout():
                pass
            self.function = await self._read()
        return self.function

    async def _read(self) -> function_pb2.Function:
        registry = RegistryServiceStub(self._connection.channel)
        request = registry_service_pb2.GetFunctionRequest(name=self.function.name)
        return await self._connection.call(registry.GetFunction, request)
