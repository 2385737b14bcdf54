"""Where functions run that do not say where: Docker if its daemon answers, else processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from build_svc.domain import Target
from mesh.clock import Clock

_ASKED_AGAIN_S = 10.0


class DefaultTarget:
    """Asks the daemon, and remembers its answer for ten seconds."""

    def __init__(self, docker_answers: Callable[[], Awaitable[bool]], clock: Clock) -> None:
        self._docker_answers = docker_answers
        self._clock = clock
        self._known: tuple[float, Target] | None = None

    async def now(self) -> Target:
        """The target for a function that names none."""
        moment = self._clock.monotonic()
        if self._known is None or moment - self._known[0] > _ASKED_AGAIN_S:
            self._known = (moment, Target.DOCKER if await self._docker_answers() else Target.PROCESS)
        return self._known[1]
