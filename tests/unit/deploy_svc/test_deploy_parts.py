"""Lines, watchers, the work queue, probes' limits: the small parts of deploy_svc without I/O."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from deploy_svc.containers.log_frames import LogFrames, nanoseconds
from deploy_svc.domain import Limits, LogStream
from deploy_svc.frames import TEXT_BYTES, ParsedLine, parse_line
from deploy_svc.ports import Exit
from deploy_svc.process.proc import ProcessId
from deploy_svc.process.spawn import resource_limits
from deploy_svc.process.users import Users
from deploy_svc.wakes import Wakes, WorkQueue
from deploy_svc.watchers import Watchers
from mesh.clock import FakeClock

TRACE = "0af7651916cd43dd8448eb211c80319c"


def frame(**fields: object) -> bytes:
    return b"\x1e" + json.dumps(fields).encode()


def test_a_frame_says_when_where_and_in_which_trace() -> None:
    line = parse_line(frame(t=1.5, s="stderr", m="oh no", trace=TRACE, req="r"))
    assert line == ParsedLine("oh no", LogStream.STDERR, TRACE, datetime.fromtimestamp(1.5, UTC))


@pytest.mark.parametrize(
    "line",
    [b"plain", b"\x1enot json", b"\x1e[]", b"\x1e{}", frame(t="x", m="x"), frame(t=1e300, m="x"), frame(t=1, m=5),
     b"\x1e" + b"[" * 100_000],
)  # fmt: skip
def test_anything_else_is_plain_text(line: bytes) -> None:
    parsed = parse_line(line, LogStream.STDERR)
    assert parsed.stream is LogStream.STDERR and parsed.written_at is None and parsed.trace_id == ""


def test_text_is_clipped_and_valid() -> None:
    assert len(parse_line(b"\xff" * 100_000).text.encode()) <= TEXT_BYTES
    assert parse_line(frame(t=1, m="\ud800")).text == "?"
    assert parse_line(frame(t=1, m="x", trace="../../etc")).trace_id == ""
    assert parse_line(frame(t=1, m="x", s=["stderr"])).stream is LogStream.STDOUT


def docker_frame(kind: int, payload: bytes) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(payload).to_bytes(4) + payload


def test_docker_lines_come_together_whatever_the_blocks_are() -> None:
    raw = (
        docker_frame(1, b"2030-01-01T00:00:00.000000001Z one\n")
        + docker_frame(2, b"2030-01-01T00:00:00.000000002Z er")
        + docker_frame(1, b"2030-01-01T00:00:00.000000003Z two\n")
        + docker_frame(2, b"2030-01-01T00:00:00.000000004Z ror\n")
    )
    frames = LogFrames(0)
    lines = [line for n in range(0, len(raw), 7) for line in frames.feed(raw[n : n + 7])]
    assert [(line.text, line.stream) for line in lines] == [
        (b"one", LogStream.STDOUT), (b"two", LogStream.STDOUT), (b"error", LogStream.STDERR)
    ]  # fmt: skip
    resumed = LogFrames(lines[1].position)
    assert [line.text for line in resumed.feed(raw)] == [b"ror"]


def test_docker_times_are_exact() -> None:
    assert nanoseconds(b"1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert nanoseconds(b"nonsense") is None


def test_an_exit_is_a_sentence() -> None:
    assert Exit(code=3).sentence == "It exited with code 3."
    assert Exit(signal=9).sentence == "It was killed by signal 9 (SIGKILL)."
    assert Exit().sentence == "It ended while nobody was watching."
    assert Exit(out_of_memory=True, detail="Out of memory: x.").sentence == "Out of memory: x."


def test_process_ids_are_written_and_read() -> None:
    assert ProcessId.parse(str(ProcessId(12, 345))) == ProcessId(12, 345)
    assert ProcessId.parse("12") is None


def test_limits_of_a_process() -> None:
    limits = resource_limits(Limits(256 << 20, 1000, 30_000, 10), instances=1, own_user=True)
    assert limits["RLIMIT_CORE"] == 0 and limits["RLIMIT_DATA"] > 256 << 20 and limits["RLIMIT_NPROC"] > 256
    assert "RLIMIT_NPROC" not in resource_limits(Limits(1, 1, 1, 1), instances=1, own_user=False)


def test_each_slot_has_its_own_user_and_only_root_has_users() -> None:
    users = Users("mesh", first=200_000, count=1000, own_only=False)
    found = {users.of_slot(n) for n in range(1000)}
    assert found == set(range(200_000, 201_000))
    assert Users("mesh", first=1, count=1, own_only=True).of_slot(0) is None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_an_instance_is_released_when_all_watchers_let_go(clock: FakeClock) -> None:
    watchers = Watchers(clock, grace_s=10)
    watchers.joined("a")
    watchers.joined("b")
    watchers.acknowledged("a", 5, ["in-1"])
    assert not watchers.have_released("in-1")
    watchers.acknowledged("b", 5, ["in-1"])
    assert watchers.have_released("in-1") and not watchers.have_released("in-2")


def test_a_lost_watcher_counts_until_its_grace_is_over(clock: FakeClock) -> None:
    watchers = Watchers(clock, grace_s=10)
    watchers.joined("a")
    watchers.joined("b")
    watchers.acknowledged("a", 1, ["in-1"])
    watchers.left("b")
    assert not watchers.have_released("in-1") and watchers.wait_s() == 10
    clock.advance(10)
    assert watchers.have_released("in-1")


def test_a_watcher_that_comes_back_in_time_is_still_asked(clock: FakeClock) -> None:
    watchers = Watchers(clock, grace_s=10)
    watchers.joined("a")
    watchers.left("a")
    clock.advance(5)
    watchers.joined("a")
    clock.advance(50)
    assert not watchers.have_released("in-1") and watchers.wait_s() is None


def test_without_any_watcher_the_grace_is_waited_for_first(clock: FakeClock) -> None:
    watchers = Watchers(clock, grace_s=10)
    assert not watchers.have_released("in-1")
    clock.advance(10)
    assert watchers.have_released("in-1")


def test_a_new_leader_does_not_take_the_first_watcher_for_all(clock: FakeClock) -> None:
    watchers = Watchers(clock, grace_s=10)
    clock.advance(60)  # it stood by
    watchers.expected(several=True)
    assert not watchers.have_released("in-1")
    watchers.joined("a")
    watchers.acknowledged("a", 1, ["in-1"])
    assert not watchers.have_released("in-1") and watchers.wait_s() == 10
    clock.advance(9)
    watchers.joined("b")
    clock.advance(1)
    assert not watchers.have_released("in-1") and watchers.wait_s() is None
    watchers.acknowledged("b", 1, ["in-1"])
    assert watchers.have_released("in-1")


def test_a_leader_that_stood_by_waits_for_watchers_to_come(clock: FakeClock) -> None:
    watchers = Watchers(clock, grace_s=10)
    clock.advance(60)
    watchers.expected(several=False)
    assert not watchers.have_released("in-1")
    watchers.joined("a")
    watchers.acknowledged("a", 1, ["in-1"])
    assert watchers.have_released("in-1")


async def test_a_key_is_taken_once_and_again_if_added_meanwhile() -> None:
    queue = WorkQueue()
    for _ in range(3):
        queue.add("a")
    assert await queue.take() == "a"
    queue.add("a")
    queue.add("b")
    assert await queue.take() == "b"
    queue.done("a")
    assert await queue.take() == "a"


async def test_later_keys_come_when_they_are_due() -> None:
    queue = WorkQueue()
    queue.add_later("later", 0.02)
    queue.add_later("sooner", 0.01)
    async with asyncio.timeout(5):
        assert [await queue.take(), await queue.take()] == ["sooner", "later"]


async def test_wakes_reach_all_who_listen() -> None:
    wakes = Wakes()
    with wakes.listening() as one, wakes.listening() as two:
        wakes.notify()
        assert one.is_set() and two.is_set()
