"""What functions are built for: the targets that this mesh builds for, and the one of functions that name none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from build_svc.domain import Runtime, Target
from mesh.clock import Clock
from mesh.errors import FailedPrecondition

_ASKED_AGAIN_S = 10.0
NO_PROCESSES = (
    "This mesh builds nothing for the target process: deploy the function to another target, or set"
    " FNMESH_BUILD_PROCESS_TARGET=true."
)


class Targets:
    """Asks the Docker daemon, and remembers its answer for ten seconds. `processes` and `clusters` say whether anything
    is built for these."""

    def __init__(
        self, docker_answers: Callable[[], Awaitable[bool]], clock: Clock, *, processes: bool, clusters: bool
    ) -> None:
        self._docker_answers = docker_answers
        self._clock = clock
        self._processes = processes
        self._clusters = clusters
        self._known: tuple[float, Target] | None = None

    async def default(self, runtime: Runtime | None) -> Target:
        """The target for a function of that runtime (None: not known yet) that names none.

        Those of Spin run in Spin, others in Docker if its daemon answers, else as processes. Where nothing is built for
        processes functions are the cluster's, if there is one.
        """
        if not self._processes and self._clusters:
            return Target.KUBERNETES
        if runtime is Runtime.SPIN:
            return Target.SPIN
        if not self._processes:
            return Target.DOCKER
        moment = self._clock.monotonic()
        if self._known is None or moment - self._known[0] > _ASKED_AGAIN_S:
            self._known = (moment, Target.DOCKER if await self._docker_answers() else Target.PROCESS)
        return self._known[1]

    def check(self, target: str) -> None:
        """Raises FailedPrecondition (TARGET_NOT_OFFERED) for one that nothing is built for."""
        if target == Target.PROCESS and not self._processes:
            raise FailedPrecondition("TARGET_NOT_OFFERED", NO_PROCESSES)
