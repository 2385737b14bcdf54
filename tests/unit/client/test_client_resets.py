"""What a reset of the connection in the middle of an answer means."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from fnmesh.client.errors import RpcFailed, Unavailable, Unreachable, from_rpc_error


def _error(code: grpc.StatusCode, details: str) -> RpcFailed:
    return from_rpc_error(AioRpcError(code, Metadata(), Metadata(), details), "http://mesh")


def test_a_stream_that_broke_may_be_resumed() -> None:
    broken = _error(grpc.StatusCode.INTERNAL, "Stream removed (RST_STREAM (Received RST_STREAM with error code 2))")

    assert isinstance(broken, Unavailable)
    assert not isinstance(broken, Unreachable)


def test_a_call_that_a_stopping_service_gave_up_is_told_as_unavailable() -> None:
    given_up = _error(grpc.StatusCode.CANCELLED, "CANCELLED")

    assert isinstance(given_up, Unavailable)
    assert str(given_up) == "The service has stopped in the middle of the call."


@pytest.mark.parametrize("details", ["", "Something went wrong inside the mesh."])
def test_other_internal_errors_may_not(details: str) -> None:
    assert not isinstance(_error(grpc.StatusCode.INTERNAL, details), Unavailable)


def test_what_speaks_no_grpc_is_no_mesh() -> None:
    other = _error(grpc.StatusCode.UNIMPLEMENTED, "Received http2 header with status: 404")

    assert isinstance(other, Unreachable)
    assert str(other) == "What answers at http://mesh is no mesh."
