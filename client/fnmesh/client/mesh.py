"""The synchronous face of the client: AsyncMesh, method by method, run on a loop of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fnmesh.build.v1 import build_pb2
from fnmesh.client.answer import Answer
from fnmesh.client.async_mesh import AsyncMesh
from fnmesh.client.deploying import AsyncDeploy
from fnmesh.client.jobs import Jobs
from fnmesh.client.loop_thread import LoopThread
from fnmesh.client.schedules import Schedules
from fnmesh.client.settings import FunctionSettings
from fnmesh.deploy.v1 import deploy_service_pb2, deployment_pb2
from fnmesh.invoke.v1 import invoke_pb2
from fnmesh.registry.v1 import api_key_pb2, function_pb2, registry_service_pb2, revision_pb2, secret_pb2, workspace_pb2
from fnmesh.trace.v1 import trace_service_pb2


class Deploy:
    """A deploy that was accepted; see AsyncDeploy."""

    def __init__(self, deploy: AsyncDeploy, loop: LoopThread) -> None:
        self._deploy = deploy
        self._loop = loop

    @property
    def function(self) -> function_pb2.Function:
        """The function, as last read."""
        return self._deploy.function

    @property
    def build(self) -> build_pb2.Build:
        """The build, as last told by its events."""
        return self._deploy.build

    @property
    def url(self) -> str:
        """Where the function answers."""
        return self._deploy.url

    @property
    def revision(self) -> int:
        """Number of the revision being deployed; 0 while it is not known."""
        return self._deploy.revision

    def events(self) -> Iterator[build_pb2.BuildEvent]:
        """The build's events that were not read yet, to the final one."""
        return self._loop.iterate(self._deploy.events())

    def rollout(self) -> Iterator[deployment_pb2.Deployment]:
        """What becomes of the instances, until the new revision is ready."""
        return self._loop.iterate(self._deploy.rollout())

    def wait(self, timeout_s: float = 900.0) -> function_pb2.Function:
        """The function, once the new revision answers. Raises BuildFailed, DeployFailed, TimeoutError."""
        return self._loop.run(self._deploy.wait(timeout_s))


class Mesh:
    """A mesh, as its users see it. Arguments, answers and errors are those of AsyncMesh."""

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        workspace: str = "default",
        timeout_s: float = 30.0,
    ) -> None:
        self._loop = LoopThread()

        async def connect() -> AsyncMesh:
            return AsyncMesh(server, api_key=api_key, workspace=workspace, timeout_s=timeout_s)

        try:
            self._mesh = self._loop.run(connect())
        except BaseException:
            self._loop.close()
            raise
        self.jobs = Jobs(self._mesh.jobs, self._loop)
        self.schedules = Schedules(self._mesh.schedules, self._loop)

    @property
    def url(self) -> str:
        """Where the mesh is, as a URL."""
        return self._mesh.address.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel and ends the loop."""
        self._loop.run(self._mesh.close())
        self._loop.close()

    def deploy(self, source: str | Path, settings: FunctionSettings | None = None, /, **more: Any) -> Deploy:
        """See AsyncMesh.deploy."""
        return Deploy(self._loop.run(self._mesh.deploy(source, settings, **more)), self._loop)

    def create(
        self, source: str | Path, settings: FunctionSettings | None = None, /, *, number: int = 0, **more: Any
    ) -> function_pb2.Function:
        """See AsyncMesh.create."""
        return self._loop.run(self._mesh.create(source, settings, number=number, **more))

    def wait_ready(self, function: function_pb2.Function) -> deployment_pb2.Deployment:
        """See AsyncMesh.wait_ready."""
        return self._loop.run(self._mesh.wait_ready(function))

    def list(self, *, workspace: str | None = None) -> Sequence[function_pb2.Function]:
        """See AsyncMesh.list."""
        return self._loop.run(self._mesh.list(workspace=workspace))

    def show(self, name: str, *, reveal_env: bool = False) -> function_pb2.Function:
        """See AsyncMesh.show."""
        return self._loop.run(self._mesh.show(name, reveal_env=reveal_env))

    def revisions(self, name: str) -> Sequence[revision_pb2.Revision]:
        """See AsyncMesh.revisions."""
        return self._loop.run(self._mesh.revisions(name))

    def env_set(self, name: str, env: Mapping[str, str]) -> function_pb2.Function:
        """See AsyncMesh.env_set."""
        return self._loop.run(self._mesh.env_set(name, env))

    def env_unset(self, name: str, keys: Iterable[str]) -> function_pb2.Function:
        """See AsyncMesh.env_unset."""
        return self._loop.run(self._mesh.env_unset(name, keys))

    def secret_set(self, name: str, key: str, value: str) -> function_pb2.Function:
        """See AsyncMesh.secret_set."""
        return self._loop.run(self._mesh.secret_set(name, key, value))

    def secrets(self, name: str) -> Sequence[secret_pb2.Secret]:
        """See AsyncMesh.secrets."""
        return self._loop.run(self._mesh.secrets(name))

    def secret_delete(self, name: str, key: str) -> function_pb2.Function:
        """See AsyncMesh.secret_delete."""
        return self._loop.run(self._mesh.secret_delete(name, key))

    def rollback(self, name: str, to: int = 0) -> function_pb2.Function:
        """See AsyncMesh.rollback."""
        return self._loop.run(self._mesh.rollback(name, to))

    def stop(self, name: str) -> function_pb2.Function:
        """See AsyncMesh.stop."""
        return self._loop.run(self._mesh.stop(name))

    def delete(self, name: str) -> None:
        """See AsyncMesh.delete."""
        self._loop.run(self._mesh.delete(name))

    def workspaces(self) -> Sequence[workspace_pb2.Workspace]:
        """See AsyncMesh.workspaces."""
        return self._loop.run(self._mesh.workspaces())

    def create_workspace(self, name: str, description: str = "") -> workspace_pb2.Workspace:
        """See AsyncMesh.create_workspace."""
        return self._loop.run(self._mesh.create_workspace(name, description))

    def delete_workspace(self, name: str) -> None:
        """See AsyncMesh.delete_workspace."""
        self._loop.run(self._mesh.delete_workspace(name))

    def invoke(self, name: str, event: Any = None, *, timeout: Any = None) -> Answer:
        """See AsyncMesh.invoke."""
        return self._loop.run(self._mesh.invoke(name, event, timeout=timeout))

    def executions(self, name: str, limit: int = 100) -> Sequence[invoke_pb2.Execution]:
        """See AsyncMesh.executions."""
        return self._loop.run(self._mesh.executions(name, limit))

    def logs(
        self, name: str, *, follow: bool = False, tail: int = 0, trace_id: str = ""
    ) -> Iterator[deployment_pb2.LogEntry]:
        """See AsyncMesh.logs."""
        return self._loop.iterate(self._mesh.logs(name, follow=follow, tail=tail, trace_id=trace_id))

    def builds(self, name: str, limit: int = 100) -> Sequence[build_pb2.Build]:
        """See AsyncMesh.builds."""
        return self._loop.run(self._mesh.builds(name, limit))

    def cancel_build(self, build: str) -> build_pb2.Build:
        """See AsyncMesh.cancel_build."""
        return self._loop.run(self._mesh.cancel_build(build))

    def build_events(self, build: str, after: int = 0) -> Iterator[build_pb2.BuildEvent]:
        """See AsyncMesh.build_events."""
        return self._loop.iterate(self._mesh.build_events(build, after))

    def deployment(self, name: str) -> deployment_pb2.Deployment:
        """See AsyncMesh.deployment."""
        return self._loop.run(self._mesh.deployment(name))

    def deployment_changes(self, name: str) -> Iterator[deployment_pb2.Deployment]:
        """See AsyncMesh.deployment_changes."""
        return self._loop.iterate(self._mesh.deployment_changes(name))

    def trace(self, trace_id: str) -> trace_service_pb2.Trace:
        """See AsyncMesh.trace."""
        return self._loop.run(self._mesh.trace(trace_id))

    def targets(self) -> deploy_service_pb2.ListTargetsResponse:
        """See AsyncMesh.targets."""
        return self._loop.run(self._mesh.targets())

    def health(self, service: str = "") -> bool:
        """See AsyncMesh.health."""
        return self._loop.run(self._mesh.health(service))

    def create_key(
        self,
        scopes: Iterable[str],
        *,
        display_name: str = "",
        workspace: str | None = None,
        expires: datetime | None = None,
    ) -> registry_service_pb2.CreateApiKeyResponse:
        """See AsyncMesh.create_key."""
        return self._loop.run(
            self._mesh.create_key(scopes, display_name=display_name, workspace=workspace, expires=expires)
        )

    def keys(self) -> Sequence[api_key_pb2.ApiKey]:
        """See AsyncMesh.keys."""
        return self._loop.run(self._mesh.keys())

    def revoke_key(self, key: str) -> api_key_pb2.ApiKey:
        """See AsyncMesh.revoke_key."""
        return self._loop.run(self._mesh.revoke_key(key))
