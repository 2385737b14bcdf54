"""The driver of the process target: the mesh's own servers for Python and Node handlers, each a plain process that
listens on the socket `s` in its instance's directory.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from deploy_svc.domain import ArtifactKind, Target
from deploy_svc.ports import InstanceSpec, TargetHealth
from deploy_svc.process.spawn import Plan, server_plan
from deploy_svc.process.supervised import ProcessPlaces, SupervisedDriver
from deploy_svc.process.toolchain import Toolchains
from deploy_svc.process.users import Users
from deploy_svc.process.working_copies import WorkingCopies
from mesh.errors import FailedPrecondition, MeshError

__all__ = ["ProcessDriver", "ProcessPlaces"]


class ProcessDriver(SupervisedDriver):
    """Runs instances as processes. `changed` is called (on the loop) when one has ended."""

    target = Target.PROCESS

    def __init__(
        self,
        places: ProcessPlaces,
        copies: WorkingCopies,
        toolchains: Toolchains,
        users: Users,
        executor: Executor,
        changed: Callable[[], None] = lambda: None,
        *,
        scratch_bytes: int = 1 << 30,
    ) -> None:
        super().__init__(places, copies, users, executor, changed, scratch_bytes=scratch_bytes)
        self._toolchains = toolchains

    async def check(self) -> TargetHealth:
        """Whether Python functions can be started, as which users."""
        user = self.users.of_slot(0)
        try:
            python = await self.in_thread(self._toolchains.find_python, user)
            await self.in_thread(self.spawner.check, user)
        except MeshError as error:
            return TargetHealth(False, error.message)
        return TargetHealth(True, f"Plain processes of this machine ({python}); not a sandbox.")

    async def plan(self, spec: InstanceSpec, user: int | None, home: Path) -> Plan:
        """The server of the function's runtime with the function's files."""
        workload = spec.workload
        if workload.artifact.kind is not ArtifactKind.TREE:
            raise FailedPrecondition(
                "ARTIFACT_KIND", "This revision was not built for the process target: deploy the function again."
            )
        toolchain = await self.in_thread(self._toolchains.get, workload.runtime, user)
        tree = await self.copies.ensure(workload.artifact.digest, workload.artifact.reference)
        return server_plan(spec, user, toolchain, tree, home)
