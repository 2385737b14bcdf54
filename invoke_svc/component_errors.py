"""What an answer 500 of a Spin component's host means.

wasmtime answers with a page of its own, always the same, where a component trapped, ran out of time or of memory; the
Spin SDKs answer with nothing at all where a handler raised. Both say why in the function's log only.
"""

from __future__ import annotations

from collections.abc import Iterable

from invoke_svc.connection import Connection
from invoke_svc.domain import timed_out
from mesh.errors import Internal, MeshError

_FAILED = 500
_PAGE_TYPE, _PAGE_LENGTH = b"text/html; charset=UTF-8", b"205"
_PAGE_MARK = b"<hr>\n        wasmtime\n"
_EARLY_S = 0.1  # its clock ticks coarsely


async def component_error(
    connection: Connection, limit_s: float, passed_s: float, *, to_head: bool
) -> MeshError | None:
    """The error that an answer stands for, which has then been read; None for an answer of the component itself.

    `passed_s` is the time since the request was sent. Raises what Connection raises.
    """
    if connection.status != _FAILED:
        return None
    headers = _first_values(connection.headers)
    if b"content-type" not in headers and headers.get(b"content-length") == b"0":
        return Internal("HANDLER_ERROR", "The handler raised an error; the function's log has it.")
    if (headers.get(b"content-type"), headers.get(b"content-length")) != (_PAGE_TYPE, _PAGE_LENGTH):
        return None
    if not to_head and not await _is_page(connection):
        return None
    if passed_s >= limit_s - _EARLY_S:
        return timed_out(limit_s)
    return Internal(
        "COMPONENT_FAILED",
        "The function ended without an answer: it crashed, or needed more memory than its limit; its log says which.",
    )


async def _is_page(connection: Connection) -> bool:
    page = await connection.peek(int(_PAGE_LENGTH))
    return _PAGE_MARK in page


def _first_values(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found.setdefault(name, value)
    return found
