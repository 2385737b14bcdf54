"""google.api.HttpBody on the wire, by hand: it has two fields that matter, and this is the hot path."""

from __future__ import annotations

from google.api import httpbody_pb2

MAX_PIECE_BYTES = 1024 * 1024
RESET = b"\xff" * 6
"""No HttpBody: Envoy's transcoder cannot decode it and resets the stream, so that the client sees a cut answer."""


def encode(data: bytes) -> bytes:
    """An HttpBody with that data and no content type."""
    size = len(data)
    if size < 0x80:
        return b"\x12%c%b" % (size, data) if size else b""
    prefix = bytearray(b"\x12")
    while size >= 0x80:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + data


def decode(message: bytes) -> tuple[str, bytes]:
    """Content type and data. Raises google.protobuf.message.DecodeError."""
    if not message:
        return "", b""
    body = httpbody_pb2.HttpBody.FromString(message)
    return body.content_type, body.data
