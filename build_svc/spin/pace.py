"""How long the stages of a build take as a rule: what its percentages are made of, and when to say it takes longer."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

from build_svc.domain import Spans, Stage, spans_of
from build_svc.leases import LeaseLost
from build_svc.ports import Journal
from mesh.clock import Clock

_KEPT = 15
_TICK_S = 0.5
_NEARLY = 0.9
GUESSES_S: Mapping[Stage, float] = {
    Stage.CHECK: 3.0,
    Stage.COMPONENTIZE: 10.0,
    Stage.VALIDATE: 0.5,
    Stage.COMPILE: 10.0,
    Stage.PUSH: 1.0,
}
"""In the order they come; until it is known better."""


def done_after(elapsed_s: float, usual_s: float) -> float:
    """How much of a stage (0 to 1) is behind after so long: nearly all when it usually ends, and never quite all."""
    share = elapsed_s / max(usual_s, 0.01)
    if share <= _NEARLY:
        return share
    return _NEARLY + (1 - _NEARLY) * (1 - math.exp(_NEARLY - share))


def overruns(elapsed_s: float, usual_s: float) -> bool:
    """Whether a stage takes so much longer than usual that somebody who waits should hear of it."""
    return elapsed_s > 1.5 * usual_s + 3


class Pace:
    """Remembers the last builds in a file; the median of each stage is what is usual."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._took: dict[Stage, deque[float]] = {stage: deque(maxlen=_KEPT) for stage in GUESSES_S}
        self._read = False

    def usual_s(self, stage: Stage) -> float:
        """Seconds that the stage takes as a rule."""
        took = self._took[stage]
        return median(took) if took else GUESSES_S[stage]

    async def spans(self) -> Spans:
        """The percentages of a build that goes through all stages."""
        if not self._read:
            self._read = True
            await asyncio.to_thread(self._load)
        return spans_of({Stage.INSTALL: 0.0} | {stage: self.usual_s(stage) for stage in GUESSES_S})

    @asynccontextmanager
    async def stage(self, journal: Journal, stage: Stage) -> AsyncIterator[None]:
        """Within it the build is in that stage, and is told to get on as it usually does."""
        began = self._clock.monotonic()
        failure: Exception | None = None
        async with journal.stage(stage):
            async with asyncio.TaskGroup() as tasks:
                ticking = tasks.create_task(self._tick(journal, stage, began))
                try:
                    yield
                except Exception as error:  # raised within, it would come out in a group
                    failure = error
                finally:
                    ticking.cancel()
            if failure is not None:
                raise failure
        self._took[stage].append(self._clock.monotonic() - began)

    async def save(self) -> None:
        """Keep what was learned; harmless where it cannot be."""
        with suppress(OSError):
            await asyncio.to_thread(self._store)

    async def _tick(self, journal: Journal, stage: Stage, began: float) -> None:
        usual_s, told = self.usual_s(stage), False
        while True:
            await asyncio.sleep(_TICK_S)
            elapsed_s = self._clock.monotonic() - began
            await journal.progress(done_after(elapsed_s, usual_s))
            if not told and overruns(elapsed_s, usual_s):
                told = True
                said = f"{stage.lower()} takes longer than usual: {elapsed_s:.0f} s so far, {usual_s:.0f} s as a rule"
                with suppress(LeaseLost):  # whoever has the stage will hear of it
                    await journal.line(said)

    def _load(self) -> None:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            for name, took in json.loads(self._file.read_text()).items():
                if name in self._took:
                    self._took[Stage(name)].extend(float(one) for one in took if 0 <= float(one) < 3600)

    def _store(self) -> None:
        draft = self._file.with_name(f".{self._file.name}-{os.getpid()}")
        draft.write_text(json.dumps({stage.value: list(took) for stage, took in self._took.items()}))
        draft.replace(self._file)
