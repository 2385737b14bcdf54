"""What stands twice, in the mesh and in its client, says the same: neither may import the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest

import fnmesh.client.refusal
import mesh.rpc_refusal

NOT_SENT = "Internal error from Core"
TRAILING = grpc.aio.Metadata(("grpc-status-details-bin", b"why"))


class Call:
    """A call of grpc.aio that ends with one status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code, self._details = code, details
        self._callbacks: list[Callable[[Any], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def end(self) -> None:
        for callback in self._callbacks:
            callback(self)

    async def code(self) -> grpc.StatusCode:
        return self._code

    async def details(self) -> str:
        return self._details

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return TRAILING


def _error(details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


@pytest.mark.parametrize("kind", [mesh.rpc_refusal.Refusal, fnmesh.client.refusal.Refusal])
@pytest.mark.parametrize(
    ("code", "details", "has_ended", "raised", "told"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", True, NOT_SENT, "too large"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", True, "other", "other"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", False, NOT_SENT, NOT_SENT),
        (grpc.StatusCode.INTERNAL, NOT_SENT, True, NOT_SENT, NOT_SENT),
        (grpc.StatusCode.OK, "", True, NOT_SENT, NOT_SENT),
    ],
)
def test_the_status_of_the_other_side_is_told(
    kind: Any, code: grpc.StatusCode, details: str, has_ended: bool, raised: str, told: str
) -> None:
    call = Call(code, details)
    refusal = kind(call)
    if has_ended:
        call.end()

    answer = refusal.instead_of(_error(raised))

    assert answer.details() == told
    if told == details and code is not grpc.StatusCode.INTERNAL:
        assert (answer.code(), answer.trailing_metadata()) == (code, TRAILING)
