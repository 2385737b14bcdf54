"""What the other side answered to a stream that it refused in the middle.

The client has the same in client/fnmesh/client/refusal.py: neither may import the other.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio

_NOT_SENT = "Internal error from Core"


class Refusal:
    """The status that the other side gave a call that sends a stream.

    Once it is there the next message cannot be sent; grpc.aio then puts an INTERNAL of its own in its place
    (grpc/grpc#36066).
    """

    def __init__(self, call: Any) -> None:
        self._error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    def _note(self, call: Any) -> None:
        code, details = _at_once(call.code()), _at_once(call.details())
        if code is not grpc.StatusCode.OK and details != _NOT_SENT:
            initial, trailing = _at_once(call.initial_metadata()), _at_once(call.trailing_metadata())
            self._error = grpc.aio.AioRpcError(code, initial, trailing, details)

    def instead_of(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The error to tell where grpc.aio raised that one."""
        return self._error if self._error is not None and error.details() == _NOT_SENT else error


def _at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that has nothing to wait for: a call knows all of its status at the same time."""
    try:
        answer.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("unreachable")
