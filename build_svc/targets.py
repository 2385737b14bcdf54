"""Where functions run that do not say where: those of Spin in Spin, others in Docker if its daemon answers, else as
processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from build_svc.domain import Runtime, Target
from mesh.clock import Clock

_ASKED_AGAIN_S = 10.0


class DefaultTarget:
    """Asks the daemon, and remembers its answer for ten seconds."""

    def __init__(self, docker_answers: Callable[[], Awaitable[bool]], clock: Clock) -> None:
        self._docker_answers = docker_answers
        self._clock = clock
        self._known: tuple[float, Target] | None = None

    async def of(self, runtime: Runtime | None) -> Target:
        """The target for a function of that runtime (None: not known yet) that names none."""
        if runtime is Runtime.SPIN:
            return Target.SPIN
        moment = self._clock.monotonic()
        if self._known is None or moment - self._known[0] > _ASKED_AGAIN_S:
            self._known = (moment, Target.DOCKER if await self._docker_answers() else Target.PROCESS)
        return self._known[1]
