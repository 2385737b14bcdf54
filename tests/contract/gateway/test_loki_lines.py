"""Lines that deploy_svc sends to a Loki are those that the gateway reads there.

Against tests/support/loki.py, or against a real Loki that FNMESH_TEST_LOKI_URL names; those of a Loki that misbehaves
against the former only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deploy_svc.domain import LogLine, LogStream
from deploy_svc.loki import LokiPush
from gateway.rest.line_query import LineQuery
from gateway.rest.loki import Loki
from gateway.rest.observability_models import Line
from gateway.rest.observing import LineQuestion, asked
from mesh.clock import SystemClock
from mesh.errors import Unavailable
from mesh.http_client import HttpServer
from mesh.ids import new_id
from mesh.loops import Backoff
from tests.support.eventually import eventually
from tests.support.loki import LokiServer, running_loki
from tests.support.ports import free_port

TRACE = "0af7651916cd43dd8448eb211c80319c"
EVERYTHING = LineQuery()
QUICK = Backoff(first_s=0.01, limit_s=0.02)


@pytest.fixture
def server() -> Iterator[LokiServer]:
    with running_loki() as one:
        yield one


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    named = os.environ.get("FNMESH_TEST_LOKI_URL", "")
    if named:
        return named
    made: LokiServer = request.getfixturevalue("server")
    return made.url


def lines(function: str, *texts: str, at: datetime | None = None, **fields: object) -> list[LogLine]:
    """Lines of a function, a millisecond apart."""
    first = at or datetime.now(UTC) - timedelta(seconds=30)
    plain = LogLine(function, "in-1", 1, first, LogStream.STDOUT, "")
    return [
        replace(plain, text=text, written_at=first + timedelta(milliseconds=number), **fields)  # type: ignore[arg-type]
        for number, text in enumerate(texts)
    ]


@asynccontextmanager
async def pushing(url: str, *, buffer_bytes: int = 8 << 20) -> AsyncIterator[LokiPush]:
    push = LokiPush(HttpServer(url), buffer_bytes=buffer_bytes, backoff=QUICK)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(push.run())
        try:
            yield push
        finally:
            running.cancel()


async def read(
    url: str, function: str, query: LineQuery = EVERYTHING, limit: int = 100, **times: datetime
) -> list[Line]:
    question = LineQuestion(function, "ws-1", limit, query, **times)
    return list(await Loki(HttpServer(url), SystemClock(), timeout_s=5).lines(question))


async def until(url: str, function: str, count: int) -> list[Line]:
    async def there() -> list[Line]:
        found = await read(url, function)
        assert len(found) == count
        return found

    return await eventually(there, 15)


def texts(found: Sequence[Line]) -> list[str]:
    return [one.line for one in found]


async def test_what_is_sent_is_read_newest_first(url: str) -> None:
    function, other = new_id("fn-"), new_id("fn-")
    sent = lines(function, "one", 'two "quoted" \\ ü', "three", trace_id=TRACE)
    async with pushing(url) as push:
        push.add(sent)
        push.add(lines(function, "wrong", at=sent[-1].written_at + timedelta(seconds=1), stream=LogStream.STDERR))
        push.add(lines(other, "another's"))

        found = await until(url, function, 4)

    assert texts(found) == ["wrong", "three", 'two "quoted" \\ ü', "one"]
    assert found[0].labels == {
        "workspace_id": "ws-1", "function_id": function, "instance": "in-1", "revision": "1", "stream": "stderr",
    }  # fmt: skip
    assert found[1].labels["trace_id"] == TRACE
    assert datetime.fromisoformat(found[3].timestamp) == sent[0].written_at
    assert texts(await read(url, function, limit=2)) == ["wrong", "three"]
    assert texts(await read(url, function, LineQuery(contains=['"quoted" \\ ü']))) == ['two "quoted" \\ ü']
    assert texts(await read(url, function, LineQuery(contains=["o"], lacks=["two", "wrong"]))) == ["one"]
    assert texts(await read(url, function, start=sent[1].written_at, end=sent[2].written_at)) == [sent[1].text]
    assert await read(url, function, end=sent[0].written_at - timedelta(days=9)) == []
    assert await read(url, function, start=sent[2].written_at, end=sent[1].written_at) == []


async def test_the_same_line_of_the_same_moment_is_there_as_often_as_it_was_written(url: str) -> None:
    function = new_id("fn-")
    same = lines(function, "again")
    async with pushing(url) as push:
        push.add(same * 3)
        await until(url, function, 3)
        push.add(same + lines(function, "then", at=same[0].written_at))

        found = await until(url, function, 5)

    assert texts(found) == ["then", "again", "again", "again", "again"]
    assert len({one.timestamp for one in found}) == 5


async def test_what_a_loki_refuses_does_not_hold_up_the_rest(url: str) -> None:
    function = new_id("fn-")
    async with pushing(url) as push:
        push.add(lines(function, "old", at=datetime.now(UTC) - timedelta(days=30), instance="in-0"))
        push.add(lines(function, "new"))

        assert texts(await until(url, function, 1)) == ["new"]


async def test_more_lines_than_a_batch_has(server: LokiServer) -> None:
    function = new_id("fn-")
    async with pushing(server.url) as push:
        push.add(lines(function, *(f"{number:05}" for number in range(6000))))

        async def there() -> bool:
            return sum(len(one) for one in server.streams.values()) == 6000

        await eventually(there, 20)

    assert server.pushes > 1
    assert texts(await read(server.url, function, limit=5000))[-1] == "01000"


async def test_a_loki_that_fails_is_tried_again(server: LokiServer) -> None:
    function = new_id("fn-")
    server.respond_with(500, 503)
    server.respond_with(429, retry_after="0")
    async with pushing(server.url) as push:
        push.add(lines(function, "a", "b"))
        await eventually(lambda: server.pushes)

        assert texts(await until(server.url, function, 2)) == ["b", "a"]
    assert server.pushes == 1


async def test_a_loki_without_structured_metadata_gets_lines_without_it(server: LokiServer) -> None:
    function = new_id("fn-")
    server.takes_metadata = False
    async with pushing(server.url) as push:
        push.add(lines(function, "a", trace_id=TRACE))

        (found,) = await until(server.url, function, 1)
    assert "trace_id" not in found.labels


async def test_while_a_loki_is_down_the_newest_lines_are_kept() -> None:
    port = free_port()
    async with pushing(f"http://127.0.0.1:{port}", buffer_bytes=2100) as push:
        for number in range(100):
            push.add(lines("fn-1", f"{number:010}"))

        assert push.dropped == 90


async def test_what_was_not_sent_is_sent_at_the_end(server: LokiServer) -> None:
    async with pushing(server.url) as push:
        push.add(lines("fn-1", "last words"))
        await asyncio.sleep(0)

    assert [entry[1] for one in server.streams.values() for entry in one] == ["last words"]


async def test_a_loki_that_cannot_be_read(server: LokiServer) -> None:
    server.respond_with(500)
    with pytest.raises(Unavailable, match="answered 500"):
        await read(server.url, "fn-1")
    server.respond_with(200)
    with pytest.raises(Unavailable, match="something else"):
        await read(server.url, "fn-1")
    server.hang()
    loki = Loki(HttpServer(server.url), SystemClock(), timeout_s=30)
    question = LineQuestion("fn-1", "ws-1", 10, LineQuery())

    told = await asked(lambda: loki.lines(question), "Loki", 0.1)

    assert told == "Loki did not answer within 0.1 s; this is what the mesh has itself."
    server.go()


@pytest.mark.parametrize("wrong", ["loki:3100", "ftp://loki", "http://", "http://loki?x=1"])
def test_what_is_no_url(wrong: str) -> None:
    with pytest.raises(ValueError, match="not a URL"):
        HttpServer(wrong)
