"""Loops, logs, traces, remembered keys."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mesh import logs, telemetry
from mesh.auth import Principal, Scope
from mesh.clock import FakeClock
from mesh.errors import NotFound, Unauthenticated
from mesh.keys import CachedKeyVerifier
from mesh.loops import Backoff, claim_loop, run_forever

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331"


async def test_a_loop_survives_what_its_step_raises() -> None:
    runs = 0
    enough = asyncio.Event()

    async def step() -> bool:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("no")
        if runs == 5:
            enough.set()
        return True

    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(run_forever(step, interval_s=60, backoff=Backoff(0.001, 0.001)))
        await asyncio.wait_for(enough.wait(), 5)
        loop.cancel()


async def test_a_wake_up_cuts_the_interval_short() -> None:
    wake, ran = asyncio.Event(), asyncio.Queue[None]()

    async def step() -> None:
        ran.put_nowait(None)

    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(run_forever(step, interval_s=3600, wake=wake))
        await asyncio.wait_for(ran.get(), 5)
        wake.set()
        await asyncio.wait_for(ran.get(), 5)
        loop.cancel()


async def test_claimed_work_fills_the_slots_and_no_more() -> None:
    rows = list(range(7))
    busy = most = 0
    done: list[int] = []
    finished = asyncio.Event()

    async def claim() -> int | None:
        return rows.pop(0) if rows else None

    async def work(row: int) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        done.append(row)
        if len(done) == 7:
            finished.set()
        if row == 2:
            raise ValueError("lost")

    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(claim_loop(claim, work, slots=2, interval_s=0.01))
        await asyncio.wait_for(finished.wait(), 5)
        loop.cancel()
    assert sorted(done) == list(range(7)) and most <= 2


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.setup("thing", "info", stream)
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])


def test_logs_are_events_bound_to_the_trace_without_secrets(lines: io.StringIO) -> None:
    log = logs.get_logger("x")
    with telemetry.within(f"{PARENT}-00"):
        log.info("thing_done", build="b", api_key="k", url="postgresql://u:p@h/d", headers={"Cookie": "c"})
    log.debug("not_shown")
    try:
        raise ValueError("fnm_" + "a" * 40)
    except ValueError as error:
        log.exception("thing_failed", error)
    first, second = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert (first["event"], first["service"], first["trace_id"]) == ("thing_done", "thing", TRACE)
    assert first["build"] == "b" and first["api_key"] == "****" and first["headers"] == {"Cookie": "****"}
    assert first["url"] == "postgresql://****@h/d"
    assert "aaaa" not in lines.getvalue() and "Traceback" in second["traceback"]


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    settings = SimpleNamespace(trace_rate=1000, trace_share=0, gateway_address="unix:/none")
    traces = telemetry.setup("thing", settings, exporter=exporter)
    yield exporter
    traces.shutdown()


def test_spans_follow_the_parent(spans: InMemorySpanExporter) -> None:
    with telemetry.within(f"{PARENT}-00"), telemetry.span("unsampled"):
        assert telemetry.current_trace_id() == TRACE
    with telemetry.within(f"{PARENT}-01"), telemetry.span("sampled", size=3):
        carried = telemetry.inject()
    with pytest.raises(NotFound), telemetry.span("failed"):
        raise NotFound("GONE", "secret text")
    telemetry.emit_span("late", telemetry.parse_traceparent(f"{PARENT}-01"), 1, 2, error="TIMEOUT")
    finished = {one.name: one for one in spans.get_finished_spans()}
    assert set(finished) == {"sampled", "failed", "late"}
    assert finished["sampled"].attributes == {"size": 3}
    assert carried == [("traceparent", telemetry.format_traceparent(finished["sampled"].context))]
    assert finished["failed"].status.description == "GONE" and not finished["failed"].events


def test_nothing_is_started_without_a_rate() -> None:
    settings = SimpleNamespace(trace_rate=0, trace_share=0, gateway_address="unix:/none")
    telemetry.setup("thing", settings).shutdown()
    with telemetry.span("x") as one:
        assert not one.is_recording()


@pytest.mark.parametrize("value", ["", "00-0-0-01", PARENT, f"ff{PARENT[2:]}-01", f"00-{'0' * 32}-{'1' * 16}-01"])
def test_a_malformed_traceparent_is_none(value: str) -> None:
    assert telemetry.parse_traceparent(value) is None


def test_the_gate_admits_a_rate_and_a_share() -> None:
    gate = telemetry.RateGate(rate=10, share=0.25)
    start = gate._filled
    admitted = [gate.admits(2**64 - 1, start) for _ in range(30)]
    assert sum(admitted) == 10
    assert sum(gate.admits(2**64 - 1, start + 0.5) for _ in range(30)) == 5
    assert sum(gate.admits(number << 54, start + 0.5) for number in range(1024)) == 256


async def test_keys_are_remembered_good_or_bad_for_some_seconds() -> None:
    asked: list[str] = []

    class Keys:
        async def verify(self, secret: str) -> Principal:
            asked.append(secret)
            if secret == "bad":
                raise Unauthenticated("KEY_INVALID", "No.")
            return Principal(frozenset({Scope.INVOKE}))

    clock = FakeClock()
    keys = CachedKeyVerifier(Keys(), ttl_s=5, size=2, clock=clock)
    for _ in range(3):
        await keys.verify("good")
        with pytest.raises(Unauthenticated):
            await keys.verify("bad")
    assert asked == ["good", "bad"]
    clock.advance(6)
    await keys.verify("good")
    for secret in ("a", "b", "good"):
        await keys.verify(secret)
    assert asked == ["good", "bad", "good", "a", "b", "good"]


def test_admin_may_do_everything_in_its_workspace() -> None:
    bound = Principal(frozenset({Scope.ADMIN}), workspace="ws-a")
    assert bound.may(Scope.INVOKE, "ws-a") and not bound.may(Scope.INVOKE, "ws-b")
    deploy = Principal(frozenset({Scope.DEPLOY}))
    assert deploy.may(Scope.DEPLOY, "ws-b") and not deploy.may(Scope.INVOKE)
    assert not Principal().may(Scope.INVOKE)
