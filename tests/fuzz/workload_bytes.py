"""Answers of workloads, good and bad, as hypothesis makes them: each byte of a body says whose it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypothesis import strategies as st

TAG = re.compile(rb"<(\w+)>")
EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<evil>"
MAX_PIECES = 12


@dataclass(frozen=True)
class Play:
    """What a workload does with one request.

    `then`: keep the connection, close it, or stall, after the answer (or what the damage left of it).
    """

    status: int = 200
    informational: tuple[int, ...] = ()
    framing: str = "length"
    chunks: tuple[int, ...] = (1,)
    trailers: bool = False
    extra: tuple[bytes, ...] = ()
    surplus: bytes = b""
    cuts: tuple[int, ...] = ()
    damage: str = ""
    at: int = 0
    junk: bytes = b""
    then: str = "keep"
    early: bool = False
    not_started: bool = False
    lag: int = 1
    """Turns of the loop between two pieces."""
    body_to_all: bool = False
    """Whether it sends its body where there must be none, too: after HEAD, 204 and 304."""

    @property
    def bodiless(self) -> bool:
        return self.status in (204, 304)

    def body(self, tag: bytes) -> bytes:
        return b"".join(b"<%b>" % tag * count for count in self.chunks)

    def answer(self, tag: bytes, to_head: bool) -> bytes:
        """The whole of it, before the damage."""
        head = b"".join(b"HTTP/1.1 %d X\r\nx-early: 1\r\n\r\n" % status for status in self.informational)
        lines = [b"HTTP/1.1 %d X" % (503 if self.not_started else self.status), b"x-tag: " + tag, *self.extra]
        if self.not_started:
            return head + b"\r\n".join((*lines, b"x-fn-not-started: 1", b"content-length: 0", b"", b""))
        body = self.body(tag)
        if self.framing == "chunked":
            lines.append(b"transfer-encoding: chunked")
            framed = b"".join(b"%x;e\r\n%b\r\n" % (len(b"<%b>" % tag * n), b"<%b>" % tag * n) for n in self.chunks if n)
            body = framed + (b"0\r\nx-trailer: <evil>\r\n\r\n" if self.trailers else b"0\r\n\r\n")
        elif self.framing == "length" and (self.body_to_all or not self.bodiless):
            lines.append(b"content-length: %d" % len(body))
        # Of one that comes later and was not announced nobody could tell that it is not the next answer.
        if (to_head or self.bodiless) and (not self.body_to_all or self.framing == "close"):
            body = b""
        return head + b"\r\n".join((*lines, b"", b"")) + body

    def wire(self, tag: bytes, to_head: bool) -> list[bytes]:
        """What is sent, in pieces."""
        raw = self.answer(tag, to_head) + self.surplus
        at = self.at % (len(raw) + 1)
        if self.damage == "cut":
            raw = raw[:at]
        elif self.damage == "insert":
            raw = raw[:at] + self.junk + raw[at:]
        elif self.damage == "replace":
            raw = raw[:at] + self.junk + raw[at + len(self.junk) :]
        elif self.damage == "head":
            raw = raw.replace(b"x-tag: ", b"x-big: " + b"a" * 70_000 + b"\r\nx-tag: ", 1)
        last = len(raw) - len(self.surplus) if self.surplus else len(raw)
        cuts = {cut % (last + 1) for cut in self.cuts}
        if self.body_to_all and not self.damage:
            cuts.add(raw.index(b"x-tag: ") + raw[raw.index(b"x-tag: ") :].index(b"\r\n\r\n") + 4)
        edges = sorted(cut for cut in cuts if 0 < cut < last)
        return [raw[a:b] for a, b in zip([0, *edges], [*edges, len(raw)], strict=True) if a < b]

    def succeeds(self, to_head: bool) -> bool | None:
        """Whether the answer must arrive, must not, or may."""
        if self.damage == "head":
            return False
        if self.damage:
            return None
        if self.then == "stall":
            return None
        return True

    @property
    def rude(self) -> bool:
        """Whether it may end a connection on which the next request is already under way."""
        closes = self.then != "keep" or self.framing == "close"
        return bool(self.damage or self.surplus) or (closes and b"connection: close" not in self.extra)


def plays(*, stalls: bool) -> st.SearchStrategy[Play]:
    """Plays of all kinds; half of them are good."""
    shapes = {
        "status": st.sampled_from((200, 200, 200, 201, 404, 500, 204, 304)),
        "informational": st.lists(st.sampled_from((100, 102, 103)), max_size=3).map(tuple),
        "framing": st.sampled_from(("length", "chunked", "close")),
        "chunks": st.lists(st.sampled_from((0, 1, 2, 40, 5000)), min_size=1, max_size=4).map(tuple),
        "trailers": st.booleans(),
        "extra": st.lists(
            st.sampled_from((b"connection: close", b"connection: keep-alive", b"keep-alive: timeout=1", b"x-a: \xff",
                             b"Set-Cookie: a=b", b"x-e:", b"x-t:\t v \t")), max_size=3, unique=True,
        ).map(tuple),
        "surplus": st.sampled_from((b"", b"", b"", b"x", b"\r\n", EVIL, b"HTTP/1.1 100 C\r\n\r\n")),
        "cuts": st.lists(st.integers(0, 30_000), max_size=MAX_PIECES).map(tuple),
        "then": st.sampled_from(("keep", "keep", "keep", "close", *(("stall",) if stalls else ()))),
        "early": st.booleans(),
        "lag": st.integers(0, 6),
        "body_to_all": st.sampled_from((False, False, True)),
    }  # fmt: skip
    damage = {
        **shapes,
        "damage": st.sampled_from(("cut", "insert", "replace", "head")),
        "at": st.one_of(st.integers(0, 200), st.integers(0, 30_000)),
        "junk": st.one_of(
            st.binary(min_size=1, max_size=12),
            st.sampled_from((b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b"0\r\n\r\n", EVIL, b"\r\ncontent-length: 3",
                             b"\r\ntransfer-encoding: chunked", b" ", b"\r\n ")),
        ),
        "then": st.just("close"),
    }  # fmt: skip
    return st.one_of(st.builds(Play, **shapes), st.builds(Play, **damage), st.just(Play(not_started=True)))
