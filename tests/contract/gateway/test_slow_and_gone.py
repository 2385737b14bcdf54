"""Clients that send too much, too slowly, or go away, through a real Envoy and the real invoke_svc.

Each of them gets a clear answer where one can still reach it, costs the function no place, and disturbs nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.raw_http import parsed_error, raw_client, raw_exchange
from tests.support.scripted_workload import Heard, always, says
from tests.support.whole_lane import WholeLane, open_lane

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 1 << 20
HEAD_S = 3.0
OK = "HTTP/1.1 200 OK"
CHUNKED = "transfer-encoding: chunked"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_lane() -> AsyncIterator[WholeLane]:
    run_dir = Path(tempfile.mkdtemp(prefix="fnm-", dir="/tmp"))
    try:
        async with open_lane(run_dir, door={"gateway_request_head_s": HEAD_S}, invoke_max_body_bytes=LIMIT) as lane:
            yield lane
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module")
async def lane(shared_lane: WholeLane) -> AsyncIterator[WholeLane]:
    """The module's lane. Whatever a test did: no request is left, no instance was given up, and others are served."""
    yield shared_lane
    await eventually(lambda: shared_lane.idle)
    assert shared_lane.mesh.deploy.retired == []


_count = itertools.count()


def named(name: str) -> str:
    """A function's name that no other test has."""
    return f"{name}-{next(_count)}"


def post(path: str, *lines: str) -> str:
    return "\r\n".join((f"POST /api/{path} HTTP/1.1", "host: h", *lines, "", ""))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def served(lane: WholeLane, path: str) -> None:
    """Somebody else's request to the same function is answered at once."""
    answer = await raw_exchange(lane, f"GET /api/{path}/other HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer


# --- too much ---


@pytest.mark.parametrize("announced", [True, False], ids=["content-length", "chunked"])
async def test_a_body_over_the_limit_is_refused_before_it_has_all_been_sent(lane: WholeLane, announced: bool) -> None:
    path = named("big")
    workload = await lane.mesh.function(always(says(OK)), uid=f"fn-{path}")
    async with raw_client(lane) as client:
        if announced:
            client.send(post(path, f"content-length: {LIMIT + 1}"))
        else:
            client.send(post(path, CHUNKED))
            client.send(chunk(b"x" * (LIMIT // 2)) * 2 + b"1\r\nx\r\n")
        status, headers, error = parsed_error(await client.answer())
    assert (status, headers["content-type"], headers["connection"]) == (413, "application/json", "close")
    assert error == {
        "detail": f"The request's body is larger than {LIMIT} bytes.",
        "code": "RESOURCE_EXHAUSTED",
        "reason": "BODY_TOO_LARGE",
        "trace_id": headers["x-trace-id"],
    }
    assert workload.connections <= (0 if announced else 1)
    await served(lane, path)


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
async def test_a_body_of_just_the_limit_arrives(lane: WholeLane, framing: str) -> None:
    path = named("full")
    workload = await lane.mesh.function(always(says(OK)), uid=f"fn-{path}")
    body = b"x" * LIMIT
    async with raw_client(lane) as client:
        if framing == "chunked":
            client.send(post(path, CHUNKED).encode() + chunk(body) + b"0\r\n\r\n")
        else:
            client.send(post(path, f"content-length: {LIMIT}").encode() + body)
        assert (await client.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert [heard.body for heard in workload.heard] == [body]


@pytest.mark.parametrize("expects", [True, False])
async def test_a_client_that_writes_on_still_learns_why(lane: WholeLane, expects: bool) -> None:
    path = named("deaf")
    await lane.mesh.function(always(says(OK)), uid=f"fn-{path}")
    async with raw_client(lane) as client:
        client.send(post(path, f"content-length: {64 * LIMIT}", *(["expect: 100-continue"] if expects else [])))
        for _ in range(64):
            client.send(b"x" * LIMIT)
        answer = await client.answer()
        if expects:
            assert answer.startswith(b"HTTP/1.1 100 Continue\r\n")
            answer = await client.answer()
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("value", ["é" * 40_000, "x" * 90_000], ids=["bytes", "ascii"])
async def test_headers_up_to_the_limit_reach_the_function(lane: WholeLane, value: str) -> None:
    path = named("heads")
    workload = await lane.mesh.function(always(says(OK)), uid=f"fn-{path}")
    for _ in range(8):
        answer = await raw_exchange(
            lane, f"GET /api/{path} HTTP/1.1\r\nhost: h\r\nx-a: {value}\r\nconnection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
    assert {heard.header("x-a") for heard in workload.heard} == {value.encode().decode("latin-1")}


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("/api/odd/%ff", 200, ""),
        ("/api/odd/%00", 200, ""),
        ("/api/odd//a/../%2e%2e//?path=evil&path=%ff", 200, ""),
        ("/api/%6fdd", 200, ""),
        ("/api/%ff", 400, "PATH_MALFORMED"),
        ("/api/%00", 400, "PATH_MALFORMED"),
        ("/api/%zz", 400, "PATH_MALFORMED"),
        ("/api//odd", 404, "FUNCTION_NOT_FOUND"),
        ("/api/../odd", 404, "FUNCTION_NOT_FOUND"),
        ("/api/x/../odd", 404, "FUNCTION_NOT_FOUND"),
        ("/api/%2e%2e/odd", 404, "FUNCTION_NOT_FOUND"),
        ("/api/%2fodd", 404, "FUNCTION_NOT_FOUND"),
        ("/api/odd%2f", 404, "FUNCTION_NOT_FOUND"),
        ("/api/nothing?path=odd", 404, "FUNCTION_NOT_FOUND"),
    ],
)
async def test_odd_targets(lane: WholeLane, target: str, status: int, reason: str) -> None:
    uid = f"fn-{named('odd')}"
    workload = await lane.mesh.function(always(says(OK)), uid=uid, path="odd")
    answer = await raw_exchange(lane, f"GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    if status == 200:
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert [heard.target for heard in workload.heard] == [target]
    else:
        got, headers, error = parsed_error(answer)
        assert (got, error["reason"], error["trace_id"]) == (status, reason, headers["x-trace-id"])
        assert workload.heard == []
    lane.mesh.registry.put(uid, path="odd", deleted=True)
    await lane.mesh.settled()


# --- too slowly ---


async def test_slow_senders_take_no_place_of_the_function(lane: WholeLane) -> None:
    workload = await lane.mesh.function(always(says(OK)), uid="fn-slow", concurrency=1)
    starts = [
        "POST /api/slow HTTP/1.1\r\nhost: h\r\nx-a: ",
        post("slow", "content-length: 10") + "x",
        post("slow", "content-length: 100000") + "x",
        post("slow", CHUNKED),
        post("slow", CHUNKED) + "5\r\nab",
        post("slow", CHUNKED) + "5\r\nabcde\r\n",
    ]
    async with asyncio.TaskGroup() as tasks:
        stop = asyncio.Event()

        async def dawdle(start: str, begun: asyncio.Event) -> None:
            async with raw_client(lane) as client:
                client.send(start)
                begun.set()
                await stop.wait()

        begun = [asyncio.Event() for _ in range(5 * len(starts))]
        for number, event in enumerate(begun):
            tasks.create_task(dawdle(starts[number % len(starts)], event))
        for event in begun:
            await event.wait()
        for _ in range(5):
            await served(lane, "slow")
        assert all(heard.method == "GET" for heard in workload.heard)
        stop.set()


async def test_a_head_that_does_not_come_in_time(lane: WholeLane) -> None:
    async with raw_client(lane) as client:
        client.send("GET /api/x HTTP/1.1\r\nhost: h\r\nx-a: ")
        status, headers, error = parsed_error(await client.answer(60))
    assert (status, headers["connection"]) == (408, "close")
    assert (error["code"], error["reason"]) == ("DEADLINE_EXCEEDED", "REQUEST_TIMEOUT")
    assert error["detail"] == "The request did not arrive in time."


@pytest.mark.parametrize("sent", [0, 3, 70_000])
async def test_a_body_that_does_not_come_in_time_is_the_clients_fault(lane: WholeLane, sent: int) -> None:
    await lane.mesh.function(always(says(OK)), uid=f"fn-late{sent}", timeout_s=0.3)
    async with raw_client(lane) as client:
        client.send(post(f"late{sent}", "content-length: 100000").encode() + b"x" * sent)
        status, headers, error = parsed_error(await client.answer())
    assert (status, error["code"], error["reason"]) == (408, "DEADLINE_EXCEEDED", "REQUEST_TIMEOUT")
    assert error["detail"] == "The request's body did not arrive within 0.3 s."
    assert error["trace_id"] == headers["x-trace-id"]
    await served(lane, f"late{sent}")  # and no instance was retired for it: see `lane`


async def test_a_request_that_comes_byte_by_byte_arrives_whole(lane: WholeLane) -> None:
    workload = await lane.mesh.function(always(says(OK)), uid="fn-drip")
    async with raw_client(lane) as client:
        for byte in (post("drip", CHUNKED) + "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n").encode():
            client.send(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert [heard.body for heard in workload.heard] == [b"abcde"]


# --- gone ---


async def reached(event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await event.wait()


class Gone:
    """A client that went away, and what the workload noticed of it."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def script(self, heard: Heard, writer: asyncio.StreamWriter) -> None:
        if heard.target.endswith("/other"):
            writer.write(says(OK))
            return
        self.begun.set()
        if heard.target.endswith("/half"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        # Until the other side is gone.
        await heard.reader.read(1)
        self.ended.set()
        raise ConnectionResetError


@pytest.mark.parametrize(
    ("request_text", "reaches"),
    [
        ("", False),
        ("POST /api/{} HT", False),
        ("POST /api/{} HTTP/1.1\r\nhost: h\r\nx-a", False),
        ("POST /api/{} HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc", False),
        ("POST /api/{} HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\nabc", False),
        ("POST /api/{} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", False),
        ("GET /api/{}/wait HTTP/1.1\r\nhost: h\r\n\r\n", True),
        ("POST /api/{}/wait HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True),
        ("GET /api/{}/half HTTP/1.1\r\nhost: h\r\n\r\n", True),
    ],
    ids=["connected", "request line", "header", "body", "long body", "chunks", "handler", "handler, chunks", "answer"],
)  # fmt: skip
async def test_a_client_that_goes_away_is_forgotten(lane: WholeLane, request_text: str, reaches: bool) -> None:
    gone, path = Gone(), named("gone")
    workload = await lane.mesh.function(gone.script, uid=f"fn-{path}", concurrency=1)
    async with raw_client(lane) as client:
        client.send(request_text.format(path))
        await client.writer.drain()
        if reaches:
            await reached(gone.begun)
        if request_text.endswith("/half HTTP/1.1\r\nhost: h\r\n\r\n"):
            assert (await client.reader.readuntil(b"half")).startswith(b"HTTP/1.1 200 OK\r\n")
        client.reset()
    if reaches:
        # The workload hears of it, and the place is free for the next one.
        await reached(gone.ended)
    await served(lane, path)
    assert [heard.target for heard in workload.heard if not heard.target.endswith("/other")] == (
        [request_text.split(" ")[1].format(path)] if reaches else []
    )


async def test_clients_that_go_away_while_they_wait_leave_the_queue(lane: WholeLane) -> None:
    gone = Gone()
    workload = await lane.mesh.function(gone.script, uid="fn-queue", concurrency=1)
    running = lane.mesh.running
    assert running is not None
    async with raw_client(lane) as first:
        first.send("GET /api/queue/wait HTTP/1.1\r\nhost: h\r\n\r\n")
        await reached(gone.begun)
        for request in (
            "GET /api/queue/wait HTTP/1.1\r\nhost: h\r\n\r\n",
            post("queue", CHUNKED) + "1\r\na\r\n0\r\n\r\n",
        ):
            async with raw_client(lane) as waiting:
                waiting.send(request)
                await eventually(lambda: running.admission.waiting == 1)
                waiting.reset()
                await eventually(lambda: running.admission.waiting == 0)
        assert len(workload.heard) == 1
        first.reset()
    await served(lane, "queue")


async def test_a_client_that_does_not_read_costs_its_function_nothing_for_long(lane: WholeLane) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        if heard.target.endswith("/other"):
            writer.write(says(OK))
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()

    await lane.mesh.function(script, uid="fn-flood", concurrency=1, timeout_s=0.5)
    async with raw_client(lane) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send("GET /api/flood HTTP/1.1\r\nhost: h\r\n\r\n")
        await eventually(lambda: not lane.idle)
        # The place is free again when the function's time is over.
        await eventually(lambda: lane.idle)
        await served(lane, "flood")
