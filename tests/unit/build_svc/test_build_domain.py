"""States, keys, lines: the pure part of builds."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from build_svc.domain import (
    LINE_BYTES_MAX,
    Build,
    BuildState,
    Progress,
    Stage,
    after,
    artifact_digest,
    file_source_digest,
    log_text,
    may_follow,
    percent_of,
    retry_delay_s,
    waiting_delay_s,
)

BUILD = Build("u", "f", "fn-1", "sha256:0", False, BuildState.BUILDING, datetime(2030, 1, 1, tzinfo=UTC))


def test_nothing_follows_a_final_state_and_nothing_goes_back() -> None:
    order = list(BuildState)
    for now in BuildState:
        for following in BuildState:
            if may_follow(now, following):
                assert not now.final
                assert order.index(following) > order.index(now)


@given(st.lists(st.tuples(st.sampled_from(Stage), st.floats(0, 1)), max_size=20))
def test_percent_never_goes_back(steps: list[tuple[Stage, float]]) -> None:
    build = BUILD
    for stage, done in steps:
        further = after(build, Progress(stage, percent_of(stage, done)))
        assert build.percent <= further.percent < 100
        build = further


@given(st.binary(max_size=3 * LINE_BYTES_MAX))
def test_any_bytes_become_a_line_that_fits(raw: bytes) -> None:
    text = log_text(raw)

    assert len(text.encode()) <= LINE_BYTES_MAX
    assert "\0" not in text


def test_a_line_keeps_what_is_left_of_a_progress_bar_and_no_password() -> None:
    assert log_text(b"10%\r50%\r100%\r\n") == "100%"
    assert (
        log_text(b"Looking in https://me:secret@pypi.example/simple") == "Looking in https://****@pypi.example/simple"
    )


def test_an_artifacts_name_depends_on_every_part_and_on_no_order() -> None:
    parts = {"source": "a", "runtime": "python"}

    assert artifact_digest(parts) == artifact_digest(dict(reversed(parts.items())))
    assert artifact_digest(parts) != artifact_digest(parts | {"runtime": "node"})
    assert artifact_digest({"a": "b", "c": ""}) != artifact_digest({"a": "", "c": "b"})


def test_the_same_bytes_under_another_name_are_another_source() -> None:
    assert file_source_digest("handler.py", "00") != file_source_digest("main.py", "00")


def test_reports_are_repeated_ever_more_slowly() -> None:
    delays = [retry_delay_s(failures) for failures in range(1, 12)]

    assert delays[0] == 0.5
    assert delays == sorted(delays)
    assert delays[-1] == 30


def test_what_others_keep_from_going_on_is_tried_again_ever_more_slowly() -> None:
    assert [waiting_delay_s(waited_s) for waited_s in (0, 5, 50, 200, 900)] == [1, 1, 5, 20, 30]
