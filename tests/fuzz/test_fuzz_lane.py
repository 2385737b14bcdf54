"""Raw requests of clients through a real Envoy and our Lua to a service that records, and odd answers back.

What is well-formed arrives as it was sent, and in its order. What is not is refused, or read as another
implementation of HTTP reads it. Nothing a client sends passes for a word of the mesh, nothing hangs, and whoever
comes next is served.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.client_bytes import SMUGGLED, Sent, Spoil, cut, read_by_another, requests, spoils
from tests.fuzz.conftest import FUZZ
from tests.support.door import RESET, TOKEN, Answer, Door, Seen
from tests.support.raw_http import RawClient, raw_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUIET_S = 0.04
LAST = b"p:/api/after\r\n0\r\n\r\n"
SEEDS = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parent / "seeds").glob("*.http"))}
_sources = (f"127.{a}.{b}.{c}" for a, b, c in itertools.product(range(1, 250), range(250), range(1, 250)))


def by_path(seen: Seen) -> Answer:
    return Answer(content_type="text/plain", chunks=(b"p:" + seen.path.encode(),))


def of(door: Door, source: str) -> list[Seen]:
    """The requests that came from that address, in their order."""
    return [seen for seen in door.invoke.seen if seen.all("x-forwarded-for")[-1:] == [source]]


def restored(seen: Seen) -> dict[bytes, list[bytes]]:
    """Its headers as the function will see them."""
    found: dict[bytes, list[bytes]] = {}
    for key, value in seen.metadata:
        if key == "x-fn-rh":
            name, _, encoded = value.partition("=")
            found.setdefault(name.encode(), []).append(unquote_to_bytes(encoded))
        else:
            found.setdefault(key.encode(), []).append(value.encode())
    return found


def nothing_forged(seen: Seen) -> None:
    for name in ("x-fn-method", "x-fn-scheme", "x-fn-trace"):
        assert "evil" not in seen.one(name), seen.metadata
    assert seen.one("x-fnmesh-service-token") == TOKEN
    assert seen.path.startswith("/api/") and seen.path != "/api/evil"
    assert not [key for key, _ in seen.metadata if key.startswith("x-envoy-")]


async def body_of(client: RawClient, method: str) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    answer = await client.answer(to_head=method == "HEAD")
    while answer.startswith(b"HTTP/1.1 100 "):
        answer = await client.answer(to_head=method == "HEAD")
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head and body:
        body = b"".join(part for index, part in enumerate(body.split(b"\r\n")) if index % 2)
    return int(head[9:12]), body


async def canary(door: Door) -> None:
    async with raw_client(door) as client:
        client.send("GET /api/canary HTTP/1.1\r\nhost: h\r\n\r\n")
        assert await body_of(client, "GET") == (200, b"p:/api/canary")


@FUZZ
@given(st.lists(requests(), min_size=1, max_size=3), st.lists(st.integers(0, 2000), max_size=5).map(tuple))
@example([Sent(b"GET", b"/api/x", ((b"x-a", b"1"), (b"x-a", b"\xff"), (b"x-a", b"2")))], ())
@example([Sent(b"POST", b"/api/x", (), SMUGGLED, "chunked", (1, 2), b";a=b", True), Sent(b"HEAD", b"/api/y")], (3, 9))
async def test_a_good_request_arrives_as_it_was_sent(
    shared_door: Door, sent: list[Sent], cuts: tuple[int, ...]
) -> None:
    door, source = shared_door, next(_sources)
    door.invoke.seen.clear()
    door.invoke.respond = by_path
    async with raw_client(door, source) as client:
        for piece in cut(b"".join(one.wire for one in sent), cuts):
            client.send(piece)
            await client.writer.drain()
        for one in sent:
            status, body = await body_of(client, one.method.decode())
            assert status == 200, body
            assert body == (b"" if one.method == b"HEAD" else b"p:" + one.target)
    arrived = of(door, source)
    assert len(arrived) == len(sent)
    for one, seen in zip(sent, arrived, strict=True):
        nothing_forged(seen)
        body = one.body if one.framing != "none" else b""
        assert (seen.method.encode(), seen.path.encode(), seen.body) == (one.method, one.target, body)
        headers = restored(seen)
        for name, values in one.arrives.items():
            # Envoy joins a few well-known ones, as HTTP allows.
            joined = [b",".join(value for value in values if value)]
            assert headers.get(name) in (values, joined), (name, headers.get(name), values)


async def spoilt(door: Door, raw: bytes) -> None:
    """Sends bytes that may be anything; what is known of any."""
    source = next(_sources)
    door.invoke.seen.clear()
    door.invoke.respond = by_path
    answers = b""
    async with raw_client(door, source) as client:
        client.send(raw)
        try:
            while piece := await asyncio.wait_for(client.reader.read(65536), QUIET_S):
                answers += piece
        except TimeoutError:
            client.end()
            answers += await client.rest()
        except ConnectionError:
            pass
    if raw.startswith(b"PRI * HTTP/2.0"):
        return
    arrived = of(door, source)
    complete = answers.count(b"\r\np:/api/")
    for seen in arrived:
        nothing_forged(seen)
    another = read_by_another(raw)
    for seen, (method, target, body) in zip(arrived[:complete], another, strict=False):
        if not target.startswith(b"/api/"):
            break
        assert (seen.method.encode(), seen.body) == (method, body)
    if b'{"code":' in answers:
        error = json.loads(answers[answers.rindex(b'{"code":') :].split(b"\n")[0])
        assert set(error) == {"code", "detail", "reason", "trace_id"}
    await canary(door)


@FUZZ
@given(st.lists(requests(), min_size=1, max_size=2), spoils)
@example([Sent(b"POST", b"/api/x", (), b"abc" + SMUGGLED, "length")], [Spoil(1, True, False, b"\r\ncontent-length: 3")])
async def test_a_spoilt_request_is_refused_or_read_as_others_read_it(
    shared_door: Door, sent: list[Sent], changes: list[Spoil]
) -> None:
    raw = b"".join(one.wire for one in sent)
    for change in changes:
        raw = change.apply(raw)
    await spoilt(shared_door, raw)


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
async def test_kept_seeds(shared_door: Door, seed: bytes) -> None:
    await spoilt(shared_door, seed)


_header_names = st.sampled_from(
    ("x-a", "x-b", "set-cookie", "content-length", "transfer-encoding", "connection", "upgrade", "trailer", "te",
     ":status", ":path", "", "bad name", "X-Upper", "x-fn-status", "x-fn-h", "grpc-status", "date", "server",
     "x-\x7f", "x:y", "keep-alive")
)  # fmt: skip
_header_values = st.one_of(
    st.sampled_from((b"", b"1", b"abc", b"-1", b"1, 2", b"chunked", b"close", b"x\r\nset-cookie: evil=1", b"x\nevil: 1",
                     b"\0", b"\r\n\r\nevil", b"%", b"%0d%0a", b"\xff")),
    st.binary(max_size=20),
)  # fmt: skip
_statuses = st.sampled_from(
    (
        "200",
        "200",
        "200",
        "201",
        "204",
        "304",
        "404",
        "500",
        "599",
        "100",
        "101",
        "199",
        "600",
        "99",
        "abc",
        "",
        "-1",
        "2000",
    )
)


@FUZZ
@given(
    st.sampled_from(("GET", "HEAD", "POST")),
    _statuses,
    st.lists(st.tuples(_header_names, _header_values), max_size=5),
    st.one_of(st.none(), _header_values),
    st.lists(st.sampled_from((b"", b"some", b"x" * 5000)), max_size=3),
    st.sampled_from((False, False, False, True)),
)
@example("GET", "200", [("x-a", b"x\r\nset-cookie: evil=1")], None, [b"some"], False)
@example("GET", "200", [("transfer-encoding", b"chunked"), ("content-length", b"1")], None, [b"some"], False)
@example("GET", "100", [], None, [b"some"], False)
@example("HEAD", "304", [("content-length", b"9")], None, [b"some"], True)
async def test_an_odd_answer_spoils_no_other(
    shared_door: Door,
    method: str,
    status: str,
    headers: list[tuple[str, bytes]],
    content_type: bytes | None,
    chunks: list[bytes],
    reset: bool,
) -> None:
    door = shared_door
    length = str(sum(map(len, chunks))).encode()
    metadata = [("x-fn-status", status)]
    if content_type is not None:
        metadata.append(("x-fn-ct", quote_from_bytes(content_type)))
    for name, value in headers:
        # A number there is invoke_svc's word: it is the right one, or the answer is cut.
        honest = length if name == "content-length" and value.isdigit() else value
        metadata.append(("x-fn-h", f"{quote_from_bytes(name.encode(), safe=': -')}={quote_from_bytes(honest)}"))
    odd = Answer(metadata=metadata, chunks=[*chunks, *([RESET] if reset else [])])
    door.invoke.respond = lambda seen: odd if seen.path == "/api/odd" else by_path(seen)
    async with raw_client(door) as client:
        client.send(f"{method} /api/odd HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n")
        client.send("GET /api/after HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        answers = await client.rest(until=LAST)
    first, _, rest = answers.partition(b"\r\n\r\n")
    lines = first.split(b"\r\n")
    if not answers:
        assert reset
        return
    assert lines[0][:9] == b"HTTP/1.1 " and 200 <= int(lines[0][9:12]) <= 599
    for line in lines[1:]:
        name = line.partition(b":")[0].lower()
        assert not name.startswith((b"x-fn-", b":")) and b"evil" not in name, line
        assert not line.startswith(b"set-cookie: evil"), line
        assert line.count(b"\r") == line.count(b"\n") == line.count(b"\0") == 0, line
    assert sum(line.lower().startswith(b"content-length:") for line in lines) <= 1
    if rest.endswith(LAST):
        # Both have been answered: the first is what it was, to the byte, and the second begins where it ends.
        one, _, _ = rest.rpartition(b"HTTP/1.1 200 OK\r\n")
        expected = b"" if method == "HEAD" or lines[0][9:12] in (b"204", b"304") else b"".join(chunks)
        if b"transfer-encoding: chunked" in first and expected:
            one = b"".join(part for index, part in enumerate(one.split(b"\r\n")) if index % 2)
        elif b"transfer-encoding: chunked" in first and not (method == "HEAD" or lines[0][9:12] in (b"204", b"304")):
            expected = b"0\r\n\r\n"
        assert one == expected
    else:
        assert reset, answers
    assert door.envoy.returncode is None
    await canary(door)
