"""Requests of clients, good and spoilt, as hypothesis makes them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import h11
from hypothesis import strategies as st

SMUGGLED = b"GET /api/smuggled HTTP/1.1\r\nhost: h\r\n\r\n"
# What Envoy or the lane sets, joins or removes: looked at by tests of their own.
_OWN = {b"cookie", b"te", b"keep-alive", b"proxy-connection", b"content-type", b"trailer", b"x-request-id"}


@dataclass(frozen=True)
class Sent:
    """A request that is as it should be."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    framing: str = "none"
    cuts: tuple[int, ...] = ()
    extension: bytes = b""
    trailers: bool = False

    @property
    def wire(self) -> bytes:
        lines = [self.method + b" " + self.target + b" HTTP/1.1", b"host: h"]
        lines += [name + b": " + value for name, value in self.headers]
        body = b""
        if self.framing == "length":
            lines.append(b"content-length: %d" % len(self.body))
            body = self.body
        elif self.framing == "chunked":
            lines.append(b"transfer-encoding: chunked")
            for piece in cut(self.body, self.cuts):
                body += b"%X%b\r\n%b\r\n" % (len(piece), self.extension, piece)
            body += b"0\r\nx-fn-path: /api/evil\r\n\r\n" if self.trailers else b"0\r\n\r\n"
        return b"\r\n".join((*lines, b"", b"")) + body

    @property
    def arrives(self) -> dict[bytes, list[bytes]]:
        """The headers that the function must see, by name."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            key = name.lower()
            if key not in _OWN and not key.startswith((b"x-fn-", b"x-envoy-", b"x-fnmesh-")):
                found.setdefault(key, []).append(value.strip(b" \t"))
        return found


def cut(raw: bytes, cuts: tuple[int, ...]) -> list[bytes]:
    """The bytes in pieces, none of them empty."""
    edges = [0, *sorted({one % (len(raw) + 1) for one in cuts}), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges) if a < b]


_token = st.text("abcdefghijXYZ-_.!#$%&'*+^`|~09", min_size=1, max_size=10).map(str.encode)
_names = st.one_of(
    _token.map(lambda name: b"q" + name),
    st.sampled_from((b"x-a", b"X-A", b"foo-bin", b"grpc-timeout", b"grpc-encoding", b"x-fn-path", b"X-Fn-Rh",
                     b"x-envoy-x", b"x-fnmesh-service-token", b"cookie", b"te", b"content-type", b"authorization",
                     b"user-agent", b"x-request-id", b"accept-encoding")),
)  # fmt: skip
_values = st.one_of(
    st.sampled_from((b"", b"evil", b"application/grpc", b"1n", b"100%", b"%0d%0a", b"a=b; c", b"a,b", b"\xff",
                     b"a\tb")),
    st.text([chr(code) for code in (*range(0x20, 0x7F), *range(0x80, 0x100))], max_size=30).map(
        lambda text: text.encode("latin-1")
    ),
)  # fmt: skip
_targets = st.one_of(
    st.sampled_from((b"/api/", b"/api/x", b"/api/%ff%00", b"/api//x/../y", b"/api/x?path=/evil&x-fn-path=%0d%0a")),
    st.text("abc/%.~?&=+;:@!$'()*,-_09[]{}|^`\"<>\\", max_size=20).map(lambda text: b"/api/" + text.encode()),
)


def requests() -> st.SearchStrategy[Sent]:
    """Good requests: what their handler gets to see is known."""
    bodies = st.one_of(st.just(b""), st.just(SMUGGLED), st.binary(max_size=300), st.just(b"\xfe" * 70_000))
    return st.builds(
        Sent,
        st.one_of(st.sampled_from((b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"BREW")), _token),
        _targets,
        st.lists(st.tuples(_names, _values), max_size=6).map(tuple),
        bodies,
        st.sampled_from(("none", "length", "chunked")),
        st.lists(st.integers(0, 300), max_size=5).map(tuple),
        st.sampled_from((b"", b";a=b", b';a="b c"')),
        st.booleans(),
    )


_junk = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from((b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\r\n ", b"\r\n\r\n", SMUGGLED, b"0\r\n\r\n",
                     b"\r\ncontent-length: 5", b"\r\ncontent-length: 0\r\n", b"\r\ntransfer-encoding: chunked\r\n",
                     b"\r\nTransfer-Encoding : chunked\r\n", b"\r\ntransfer-encoding: identity", b"\r\nhost: evil\r\n",
                     b"\r\nx-fn-path: /api/evil\r\nx-fnmesh-service-token: evil\r\n", b"\r\nconnection: close\r\n",
                     b"\r\nexpect: 100-continue\r\n", b"\r\nupgrade: h2c\r\nconnection: upgrade\r\n")),
)  # fmt: skip


@dataclass(frozen=True)
class Spoil:
    """A change to bytes: `junk` is put in, or in the place of what is there, at the n-th line end or byte."""

    at: int
    lines: bool
    replace: bool
    junk: bytes

    def apply(self, raw: bytes) -> bytes:
        places = [at for at in range(len(raw)) if raw.startswith(b"\r\n", at)] if self.lines else range(len(raw) + 1)
        at = places[self.at % len(places)] if places else 0
        return raw[:at] + self.junk + raw[at + (len(self.junk) if self.replace else 0) :]


spoils = st.lists(st.builds(Spoil, st.integers(0, 400), st.booleans(), st.booleans(), _junk), min_size=1, max_size=3)


def read_by_another(raw: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Method, target and body of the whole requests that another implementation of HTTP/1.1 finds in the bytes."""
    found: list[tuple[bytes, bytes, bytes]] = []
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    reader.receive_data(raw)
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event = reader.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                found.append((head.method, head.target, body))
                reader.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                reader.send(h11.EndOfMessage())
                if reader.our_state is not h11.DONE:
                    return found
                reader.start_next_cycle()
            else:
                return found
    except h11.ProtocolError:
        return found
