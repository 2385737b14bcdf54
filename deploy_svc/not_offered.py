"""A target of this machine that functions are not put on: where deploy_svc is a pod of a cluster, whose file system and
loopback interface invoke_svc does not share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from deploy_svc.ports import Adopting, Driver, InstanceSpec, Observed, OutputLine, Started, TargetHealth
from mesh.errors import FailedPrecondition


class NotOffered:
    """Starts nothing; what an earlier deploy_svc started with the driver is still found and ended."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.target = driver.target
        self._sentence = (
            f"This mesh runs nothing on the target {self.target}: deploy the function to another target, "
            f"or name {self.target} in FNMESH_DEPLOY_LOCAL_TARGETS."
        )

    async def check(self) -> TargetHealth:
        return TargetHealth(False, self._sentence)

    async def start(self, spec: InstanceSpec) -> Started:
        raise FailedPrecondition("TARGET_NOT_OFFERED", self._sentence)

    async def observe(self) -> Mapping[str, Observed]:
        return await self._driver.observe()

    async def stop(self, instance: str, grace_s: float) -> None:
        await self._driver.stop(instance, grace_s)

    async def remove(self, instance: str) -> None:
        await self._driver.remove(instance)

    def output(self, instance: str, position: int) -> AsyncIterator[Sequence[OutputLine]]:
        return self._driver.output(instance, position)

    async def keep_artifacts(self, digests: frozenset[str]) -> None:
        await self._driver.keep_artifacts(digests)

    async def forget(self, function: str) -> None:
        await self._driver.forget(function)

    async def vacate(self) -> None:
        await self._driver.vacate()

    async def run(self) -> None:
        await self._driver.run()

    async def adopt(self) -> None:
        if isinstance(self._driver, Adopting):
            await self._driver.adopt()
