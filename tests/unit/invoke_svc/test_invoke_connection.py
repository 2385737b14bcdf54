"""The raw HTTP/1.1 client, against servers that say to the byte what a test tells them to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoke_svc.connection import HIGH_WATER, MAX_HEAD_BYTES, Connection, NotSent
from invoke_svc.domain import WorkloadFailed, timed_out
from invoke_svc.pool import ConnectionPool
from mesh.errors import DeadlineExceeded
from tests.support.eventually import eventually

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that only remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False
        self.reading = True

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Outcome:
    """What an exchange over a Wire came to."""

    def __init__(self, *pieces: bytes, to_head: bool = False, eof: bool = False) -> None:
        self.body = b""
        self.error: Exception | None = None
        asyncio.run(self._play(pieces, to_head, eof))

    async def _play(self, pieces: tuple[bytes, ...], to_head: bool, eof: bool) -> None:
        self.wire = Wire()
        self.connection = connection = Connection(asyncio.get_running_loop(), lambda _: None)
        connection.connection_made(self.wire)
        connection.send(REQUEST, to_head=to_head)
        for piece in pieces:
            if not self.wire.aborted:
                connection.data_received(piece)
        if eof or self.wire.aborted:
            connection.connection_lost(None)
        try:
            async with asyncio.timeout(5):
                await connection.answer_head()
                while piece := await connection.read():
                    self.body += piece
        except WorkloadFailed as error:
            self.error = error
        self.status, self.headers = connection.status, connection.headers
        self.reusable = connection.reusable


def split(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(raw) + 1) for cut in cuts}), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges) if a < b]


ANSWERS = [
    (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello", b"hello", True),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\n\r\n", b"hello", True),
    (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n", b"hello", True),
    (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", b"hello", False),
    (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello", False),
    (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", True),
    (b"HTTP/1.1 204 N\r\n\r\n", b"", True),
    (b"HTTP/1.1 304 N\r\netag: x\r\n\r\n", b"", True),
    (b"HTTP/1.1 304 N\r\ncontent-length: 7\r\n\r\n", b"", False),
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 1000), max_size=8))
def test_an_answer_is_the_same_however_it_is_cut(answer: tuple[bytes, bytes, bool], cuts: list[int]) -> None:
    raw, body, reusable = answer
    outcome = Outcome(*split(raw, cuts))
    assert (outcome.error, outcome.body, outcome.reusable) == (None, body, reusable)
    assert all(name == name.lower() and name not in (b"link", b"x-trailer") for name, _ in outcome.headers)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", ANSWERS[1][0][:60]]))
def test_no_bytes_break_more_than_their_own_connection(noise: bytes, before: bytes) -> None:
    outcome = Outcome(before + noise, eof=True)
    assert not outcome.reusable


@pytest.mark.parametrize("raw", [answer[0] for answer in ANSWERS[:6]])
def test_an_answer_cut_short_is_an_error(raw: bytes) -> None:
    for end in range(len(raw)):
        outcome = Outcome(raw[:end], eof=True)
        assert isinstance(outcome.error, WorkloadFailed), raw[:end]
        assert outcome.error.reason == "WORKLOAD_CLOSED"


@pytest.mark.parametrize(
    "surplus", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"\0" * 10, b"HTTP/1.1 100 C\r\n\r\n"]
)
@pytest.mark.parametrize("raw", [answer[0] for answer in ANSWERS if answer[2]])
def test_surplus_bytes_cost_the_connection_and_nothing_else(raw: bytes, surplus: bytes) -> None:
    outcome = Outcome(raw + surplus)
    assert (outcome.error, outcome.reusable, outcome.wire.aborted) == (None, False, True)


def test_surplus_bytes_that_come_late_close_the_connection() -> None:
    outcome = Outcome(ANSWERS[0][0])
    outcome.connection.busy = False
    outcome.connection.data_received(b"HTTP/1.1 200 OK\r\n")
    assert outcome.wire.aborted
    with pytest.raises(NotSent):
        outcome.connection.send(REQUEST, to_head=False)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 404 N\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_head_has_no_body_whatever_is_announced(raw: bytes) -> None:
    outcome = Outcome(raw, to_head=True)
    # Who announces a body to HEAD may send it as well, later: nothing else is asked on that connection.
    quiet = b"content-length: 0" in raw
    assert (outcome.error, outcome.body, outcome.reusable) == (None, b"", quiet)
    assert not Outcome(raw + b"body", to_head=True).reusable


def test_after_head_the_connection_serves_on() -> None:
    outcome = Outcome(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", to_head=True)
    outcome.connection.send(REQUEST, to_head=False)
    outcome.connection.data_received(ANSWERS[0][0])
    assert (outcome.connection.complete, outcome.connection.reusable) == (True, True)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 300,
        b"HTTP/1.1 " + b"2" * MAX_HEAD_BYTES * 2,
        b"HTTP/1.1 100 C\r\n\r\n" * 20,
        b"HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nraw",
        b"HTTP/1.1 99 X\r\n\r\n",
        b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent length: 1\r\n\r\n",
    ],
)
def test_what_is_not_http_is_an_error(raw: bytes) -> None:
    for pieces in ([raw], split(raw, list(range(0, len(raw), 4096)))):
        outcome = Outcome(*pieces)
        assert isinstance(outcome.error, WorkloadFailed), raw[:40]
        assert (outcome.error.reason, outcome.wire.aborted) == ("ANSWER_MALFORMED", True)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"e" * MAX_HEAD_BYTES * 2,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"t: t\r\n" * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nt: " + b"t" * MAX_HEAD_BYTES * 2,
    ],
)
def test_framing_that_never_ends_is_an_error(raw: bytes) -> None:
    outcome = Outcome(*split(raw, list(range(0, len(raw), 4096))))
    assert isinstance(outcome.error, WorkloadFailed)


def test_an_answer_without_length_ends_with_the_connection() -> None:
    for head in (b"", b"transfer-encoding: gzip\r\n"):
        outcome = Outcome(b"HTTP/1.1 200 OK\r\n" + head + b"\r\nall", b" of it", eof=True)
        assert (outcome.error, outcome.body, outcome.reusable) == (None, b"all of it", False)


async def test_the_workload_is_not_read_from_while_nobody_reads() -> None:
    wire = Wire()
    connection = Connection(asyncio.get_running_loop(), lambda _: None)
    connection.connection_made(wire)
    connection.send(REQUEST, to_head=False)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n")
    connection.data_received(b"x" * HIGH_WATER)
    assert wire.reading
    connection.data_received(b"x")
    assert not wire.reading
    assert len(await connection.read()) == HIGH_WATER + 1
    assert wire.reading


async def test_writing_waits_for_the_workload() -> None:
    connection = Connection(asyncio.get_running_loop(), lambda _: None)
    connection.connection_made(Wire())
    connection.send(REQUEST, to_head=False)
    connection.pause_writing()
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(connection.write((b"x",)))
        await asyncio.sleep(0)
        assert not writing.done()
        connection.resume_writing()
    connection.connection_lost(ConnectionResetError())
    with pytest.raises(WorkloadFailed):
        await connection.write((b"y",))


async def test_failing_an_exchange_wakes_its_reader() -> None:
    wire = Wire()
    connection = Connection(asyncio.get_running_loop(), lambda _: None)
    connection.connection_made(wire)
    connection.send(REQUEST, to_head=False)
    asyncio.get_running_loop().call_soon(connection.fail, timed_out(1))
    with pytest.raises(DeadlineExceeded):
        await connection.answer_head()
    assert wire.aborted


# --- the pool, over real sockets ---

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(path: Path, answer: bytes = ANSWERS[0][0]) -> AsyncIterator[list[asyncio.StreamWriter]]:
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await reader.readline():
            while (await reader.readline()) not in (b"\r\n", b""):
                pass
            writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield writers
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def exchange(pool: ConnectionPool) -> Connection:
    connection = pool.take() or await pool.connect()
    connection.send(REQUEST, to_head=False)
    await connection.answer_head()
    while await connection.read():
        pass
    pool.give(connection)
    return connection


async def test_a_connection_is_kept_and_closed_by_the_pool(tmp_run_dir: Path) -> None:
    async with listening(tmp_run_dir / "s"):
        pool = ConnectionPool(f"unix:{tmp_run_dir}/s")
        first = await exchange(pool)
        assert await exchange(pool) is first
        pool.close()
        await eventually(lambda: len(pool) == 0)
        assert pool.take() is None


async def test_a_connection_closed_by_the_workload_is_not_taken(tmp_run_dir: Path) -> None:
    async with listening(tmp_run_dir / "s") as writers:
        pool = ConnectionPool(f"unix:{tmp_run_dir}/s")
        await exchange(pool)
        writers[0].close()
        await eventually(lambda: len(pool) == 0)
        assert pool.take() is None
        await exchange(pool)
        pool.close()


@pytest.mark.root
async def test_a_socket_that_leads_to_another_user_is_not_spoken_to(tmp_run_dir: Path) -> None:
    mine, others = tmp_run_dir / "mine", tmp_run_dir / "others"
    mine.mkdir()
    others.mkdir()
    async with listening(others / "s"):
        (mine / "s").symlink_to(others / "s")
        os.chown(mine, 12345, 12345)
        with pytest.raises(NotSent, match="somebody else"):
            await ConnectionPool(f"unix:{mine}/s").connect()
        pool = ConnectionPool(f"unix:{others}/s")
        await exchange(pool)
        pool.close()


async def test_a_connection_rests_no_longer_than_the_workload_allows(tmp_run_dir: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nkeep-alive: max=9, timeout=1\r\ncontent-length: 0\r\n\r\n"
    async with listening(tmp_run_dir / "s", answer):
        pool = ConnectionPool(f"unix:{tmp_run_dir}/s")
        assert (await exchange(pool)).idle_limit_s == 0
        assert pool.take() is None


@pytest.mark.parametrize("address", ["unix:/nowhere/at/all", "127.0.0.1:1", "nonsense", "127.0.0.1:x"])
async def test_nobody_there(address: str) -> None:
    with pytest.raises(NotSent):
        await ConnectionPool(address).connect()
