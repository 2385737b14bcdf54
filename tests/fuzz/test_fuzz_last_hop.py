"""The client of the last hop against workloads whose every byte hypothesis makes, over real sockets.

Many requests share a few connections. Whatever a workload does: no request gets a byte of another one's answer, what
was answered well arrives as it was sent, nothing hangs, no place is lost, and no request is sent twice that may
have been begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from invoke_svc.admission import Admission, QueueLimits
from invoke_svc.domain import InstanceState, Route, Run, Trigger, WorkloadFailed
from invoke_svc.exchange import Dispatcher, Upload
from mesh.errors import DeadlineExceeded, MeshError, Unavailable
from tests.fuzz.conftest import FUZZ
from tests.fuzz.workload_bytes import EVIL, Play, plays

HANG_S = 20.0
LIMIT_S = 5.0
STALL_S = 0.15
GOOD = Play()


@dataclass(frozen=True)
class Ask:
    """A request: its method, the pieces of its body (None: a request without one), and what its caller does."""

    play: Play
    method: str = "GET"
    pieces: tuple[int, ...] | None = None
    leaves: bool = False


@dataclass
class Outcome:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    error: MeshError | None = None


def tag_of(number: int) -> bytes:
    return b"tag%dgat" % number


class Peer:
    """The workload: answers request /<number> with that request's play, later attempts well."""

    def __init__(self, asks: list[Ask]) -> None:
        self._asks = asks
        self.heard: Counter[int] = Counter()
        self.bodies: dict[int, bytes] = {}
        self.open: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._one(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()
            self.open.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n", 1)[0].split(b" ")
        number = int(line[1][1:])
        self.heard[number] += 1
        play = self._asks[number].play if self.heard[number] == 1 and number < len(self._asks) else GOOD
        if not play.early:
            self.bodies[number] = await self._body(head, reader)
        for piece in play.wire(tag_of(number), line[0] == b"HEAD"):
            writer.write(piece)
            await writer.drain()
            for _ in range(play.lag):
                await asyncio.sleep(0)
        if play.then == "stall":
            await reader.read(-1)
        if play.then != "keep" or play.framing == "close" or b"connection: close" in play.extra:
            if play.early:
                await self._body(head, reader)
            return False
        if play.early:
            await self._body(head, reader)
        return True

    async def _body(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        body = b""
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            while size := int(await reader.readuntil(b"\n"), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        return body


class Caller:
    """Sends requests through the dispatcher, as the lane of HTTP does."""

    def __init__(self, address: str, limit_s: float) -> None:
        self.retired: list[str] = []
        self.admission = Admission(QueueLimits(cold_start_s=LIMIT_S))
        self.dispatcher = Dispatcher(self.admission, lambda uid, why: self.retired.append(uid), grace_s=0.0)
        self.admission.put(InstanceState("in-1", "fn-1", 1, address, 2, True, 1))
        self.route = Route("fn-1", "f", "ws", "f", "ws", "f", frozenset(), 1, LIMIT_S)
        self.limit_s = limit_s

    async def ask(self, number: int, ask: Ask) -> Outcome:
        run = Run(f"{number}", Trigger.HTTP, 0.0, "")
        outcome = Outcome()
        head = b"%b /%d HTTP/1.1\r\nhost: h\r\n" % (ask.method.encode(), number)
        try:
            if ask.pieces is None:
                await self._exchange(run, ask, head + b"\r\n", None, outcome)
            else:
                upload = Upload(_pieces(number, ask.pieces), 1 << 30, run)
                async with asyncio.TaskGroup() as tasks:
                    moving = tasks.create_task(upload.run())
                    try:
                        await self._exchange(run, ask, head + b"transfer-encoding: chunked\r\n\r\n", upload, outcome)
                    except MeshError as error:
                        outcome.error = error
                    finally:
                        moving.cancel()
        except MeshError as error:
            outcome.error = error
        return outcome

    async def _exchange(self, run: Run, ask: Ask, head: bytes, upload: Upload | None, outcome: Outcome) -> None:
        exchange = await self.dispatcher.begin(
            self.route, run, head, to_head=ask.method == "HEAD", upload=upload, limit_s=self.limit_s
        )
        try:
            outcome.status, outcome.headers = exchange.connection.status, exchange.connection.headers
            if ask.leaves:
                return
            while piece := await exchange.connection.read():
                outcome.body += piece
        finally:
            self.dispatcher.end(self.route, exchange)


async def _pieces(number: int, sizes: tuple[int, ...]) -> AsyncIterator[bytes]:
    for size in sizes:
        await asyncio.sleep(0)
        yield tag_of(number) * size


def check(number: int, ask: Ask, outcome: Outcome, asks: list[Ask], *, hurried: bool) -> None:
    """What came of a request is of its own answer only, and what it must be.

    With a limit so short that a slow machine exceeds it (`hurried`) any request may run out of time.
    """
    play, tag, to_head = ask.play, tag_of(number), ask.method == "HEAD"
    seen = outcome.body + b"".join(value for _, value in outcome.headers)
    assert not [other for other in range(len(asks)) if other != number and tag_of(other) in seen]
    if outcome.error is not None:
        assert isinstance(outcome.error, (WorkloadFailed, DeadlineExceeded, Unavailable)), outcome.error
    if play.not_started:
        if outcome.error is None:
            assert (outcome.status, outcome.headers[0]) == (200, (b"x-tag", tag))
        return
    if hurried and outcome.error is not None:
        return
    must = play.succeeds(to_head)
    if must is False and not ask.leaves:
        assert outcome.error is not None
    if must and not ask.leaves and not (play.early and ask.pieces is not None) and outcome.error is not None:
        # Sent on a connection that its workload ended at that moment, without having said so.
        assert any(other.play.rude for other in asks), outcome.error
        assert (outcome.status, outcome.error.reason) == (0, "WORKLOAD_CLOSED"), outcome.error
    if must is not None and outcome.error is None:
        assert (outcome.status, dict(outcome.headers)[b"x-tag"]) == (play.status, tag)
        whole = b"" if to_head or play.bodiless or ask.leaves else play.body(tag)
        assert outcome.body == whole or (play.framing == "close" and outcome.body.startswith(whole))
        assert all(name not in (b"x-early", b"x-trailer") for name, _ in outcome.headers)


def asks(*, stalls: bool) -> st.SearchStrategy[list[Ask]]:
    sizes = st.lists(st.sampled_from((0, 1, 100, 9000)), max_size=4).map(tuple)
    one = st.builds(
        Ask, plays(stalls=stalls), st.sampled_from(("GET", "GET", "HEAD", "POST")), st.one_of(st.none(), sizes),
        st.sampled_from((False, False, False, True)),
    )  # fmt: skip
    return st.lists(one, min_size=1, max_size=8)


async def _play_all(asked: list[Ask], limit_s: float) -> None:
    run_dir = Path(tempfile.mkdtemp(prefix="fnm-", dir="/tmp"))
    peer = Peer(asked)
    server = await asyncio.start_unix_server(peer.serve, run_dir / "w", limit=1 << 20)
    try:
        caller = Caller(f"unix:{run_dir}/w", limit_s)
        outcomes: dict[int, Outcome] = {}

        async def work(share: int) -> None:
            for number in range(share, len(asked), 3):
                outcomes[number] = await caller.ask(number, asked[number])

        async with asyncio.timeout(HANG_S), asyncio.TaskGroup() as tasks:
            for share in range(3):
                tasks.create_task(work(share))
        for number, ask in enumerate(asked):
            check(number, ask, outcomes[number], asked, hurried=limit_s < LIMIT_S)
            assert peer.heard[number] <= 1 + ask.play.not_started
            if ask.pieces is not None and number in peer.bodies:
                assert peer.bodies[number] == tag_of(number) * sum(ask.pieces)
        assert caller.admission.inflight == caller.admission.waiting == 0
        # And the one who comes next is served.
        last = Ask(GOOD)
        async with asyncio.timeout(HANG_S):
            outcome = await caller.ask(len(asked), last)
        check(len(asked), last, outcome, [*asked, last], hurried=limit_s < LIMIT_S)
        caller.admission.remove("in-1")
    finally:
        server.close()
        for task in peer.open:
            task.cancel()
        if peer.open:
            await asyncio.wait(peer.open)
        shutil.rmtree(run_dir, ignore_errors=True)


@FUZZ
@given(asks(stalls=False))
@example([Ask(Play(surplus=EVIL)), Ask(GOOD), Ask(GOOD), Ask(GOOD)])
@example([Ask(Play(status=204, surplus=b"x"), "HEAD"), Ask(Play(framing="chunked", trailers=True, surplus=EVIL))])
@example([Ask(Play(chunks=(5000,), lag=6, body_to_all=True), "HEAD"), Ask(GOOD), Ask(GOOD), Ask(GOOD)])
@example([Ask(Play(not_started=True), "POST", (1, 9000))])
@example([Ask(Play(early=True), "POST", (9000, 9000, 9000)), Ask(GOOD), Ask(GOOD), Ask(GOOD)])
def test_answers_belong_to_their_requests(asked: list[Ask]) -> None:
    asyncio.run(_play_all(asked, LIMIT_S))


@settings(FUZZ, max_examples=FUZZ.max_examples // 2)
@given(asks(stalls=True))
@example([Ask(Play(then="stall", damage="cut", at=5)), Ask(GOOD), Ask(GOOD), Ask(GOOD)])
def test_nothing_waits_longer_than_its_limit(asked: list[Ask]) -> None:
    asyncio.run(_play_all(asked, STALL_S))
