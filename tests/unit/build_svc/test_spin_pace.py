"""Percentages of a component's build: by what builds took before, never back, never done too early."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build_svc.domain import BuildFailed, Spans, Stage, percent_of, spans_of
from build_svc.spin.pace import GUESSES_S, Pace, done_after, overruns
from mesh.clock import FakeClock

SECONDS = st.floats(min_value=0, max_value=1e4)


@given(SECONDS, SECONDS, st.floats(min_value=0.01, max_value=1e3))
def test_a_stage_gets_on_and_is_never_quite_done(one_s: float, other_s: float, usual_s: float) -> None:
    earlier, later = sorted((one_s, other_s))

    assert 0 <= done_after(earlier, usual_s) <= done_after(later, usual_s) <= 1
    assert done_after(usual_s, usual_s) > 0.85


@given(st.fixed_dictionaries(dict.fromkeys(GUESSES_S, SECONDS)))
def test_stages_have_their_share_in_their_order(durations_s: dict[Stage, float]) -> None:
    spans = spans_of(durations_s)
    marks = [percent_of(stage, done, spans) for stage in (Stage.UNPACK, *durations_s) for done in (0.0, 0.5, 1.0)]

    assert all(earlier <= later for earlier, later in pairwise(marks))
    assert marks[0] == 0
    assert marks[-1] <= 99


def test_what_takes_longest_has_most_of_the_bar() -> None:
    spans = spans_of({Stage.CHECK: 1, Stage.COMPONENTIZE: 8, Stage.COMPILE: 1})

    assert spans[Stage.COMPONENTIZE] == (14, 90)


def test_it_is_told_when_a_stage_takes_much_longer_than_usual() -> None:
    assert not overruns(12, usual_s=8)
    assert overruns(16, usual_s=8)
    assert not overruns(2, usual_s=0.1)


class Told:
    """A journal that keeps the stages it was told of."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def plan(self, spans: Spans) -> None:
        pass

    @asynccontextmanager
    async def stage(self, stage: Stage) -> AsyncIterator[None]:
        self.stages.append(stage)
        yield

    async def progress(self, done: float) -> None:
        pass

    async def line(self, raw: bytes | str) -> None:
        pass


async def test_what_is_usual_is_the_median_of_earlier_builds_also_after_a_restart(tmp_path: Path) -> None:
    clock, journal = FakeClock(datetime(2026, 1, 1, tzinfo=UTC)), Told()
    pace = Pace(tmp_path / "pace.json", clock)
    for took_s in (40.0, 2.0, 4.0):
        async with pace.stage(journal, Stage.CHECK):
            clock.advance(took_s)
    await pace.save()

    later = Pace(tmp_path / "pace.json", clock)
    await later.spans()

    assert later.usual_s(Stage.CHECK) == 4.0
    assert later.usual_s(Stage.COMPILE) == GUESSES_S[Stage.COMPILE]


async def test_a_stage_that_fails_says_why_and_is_not_counted(tmp_path: Path) -> None:
    pace = Pace(tmp_path / "pace.json", FakeClock(datetime(2026, 1, 1, tzinfo=UTC)))

    with pytest.raises(BuildFailed, match="the reason"):
        async with pace.stage(Told(), Stage.CHECK):
            raise BuildFailed("the reason")

    assert pace.usual_s(Stage.CHECK) == GUESSES_S[Stage.CHECK]


async def test_a_file_that_makes_no_sense_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pace.json").write_text('{"CHECK": ["x"], "OTHER": [1]')
    pace = Pace(tmp_path / "pace.json", FakeClock(datetime(2026, 1, 1, tzinfo=UTC)))

    assert (await pace.spans())[Stage.PUSH][1] == 99
