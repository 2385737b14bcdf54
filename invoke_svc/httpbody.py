"""google.api.HttpBody on the wire, by hand: it has two fields that matter, and this is the hot path."""

from __future__ import annotations

from google.api import httpbody_pb2

MAX_PIECE_BYTES = 1024 * 1024
RESET = b"\xff" * 6
"""No HttpBody: Envoy's transcoder cannot decode it and resets the stream, so that the client sees a cut answer."""


def encode(*pieces: bytes) -> bytes:
    """An HttpBody with that data and no content type."""
    size = sum(map(len, pieces))
    if size < 0x80:
        return b"\x12%c%b" % (size, b"".join(pieces)) if size else b""
    prefix = bytearray(b"\x12")
    while size >= 0x80:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return b"".join((prefix, *pieces))


def decode(message: bytes) -> tuple[str, bytes]:
    """Content type and data. Raises google.protobuf.message.DecodeError."""
    if not message:
        return "", b""
    body = httpbody_pb2.HttpBody.FromString(message)
    return body.content_type, body.data


def decode_piece(message: bytes) -> bytes | memoryview:
    """The data of a further piece of a stream: not copied where it is all that there is, as Envoy sends it."""
    if message[:1] == b"\x12":
        size = shift = 0
        for at, byte in enumerate(message[1:6], 2):
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if at + size == len(message):
                    return memoryview(message)[at:]
                break
    return decode(message)[1]
