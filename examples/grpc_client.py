"""Calls a function over gRPC with the generated stubs, whole and in pieces.

    python examples/grpc_client.py hello '{"name": "x"}' --server 127.0.0.1:8080

Any language can do this: the .proto files are in protos/, and the mesh answers reflection on the same port
(`grpcurl -plaintext 127.0.0.1:8080 list`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

import grpc

from fnmesh.invoke.v1 import invoke_service_pb2 as pb
from fnmesh.invoke.v1.invoke_service_pb2_grpc import InvokeServiceStub

PIECE_BYTES = 64 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", help="its name in the workspace `default`, or its resource name")
    parser.add_argument("event", nargs="?", default="{}", help="what the handler gets, as JSON")
    parser.add_argument("--server", default=os.environ.get("FNMESH_SERVER", "127.0.0.1:8080"))
    options = parser.parse_args()
    name = options.function
    if not name.startswith("workspaces/"):
        name = f"workspaces/default/functions/{name}"
    key = os.environ.get("FNMESH_API_KEY")
    metadata = (("authorization", f"Bearer {key}"),) if key else ()

    with grpc.insecure_channel(options.server) as channel:
        invokes = InvokeServiceStub(channel)
        try:
            invoke(invokes, name, options.event.encode(), metadata)
            invoke_stream(invokes, name, options.event.encode(), metadata)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")


def invoke(invokes: InvokeServiceStub, name: str, event: bytes, metadata: tuple[tuple[str, str], ...]) -> None:
    """One message there, one back. A deadline is never left out."""
    answer = invokes.Invoke(pb.InvokeRequest(name=name, payload=event), timeout=30, metadata=metadata)
    print(f"Invoke: status {answer.status_code}, {answer.duration.ToMilliseconds()} ms, trace {answer.trace_id}")
    print(f"  {answer.payload.decode()}")


def invoke_stream(invokes: InvokeServiceStub, name: str, event: bytes, metadata: tuple[tuple[str, str], ...]) -> None:
    """The same in pieces: for events and answers that are large, or come bit by bit."""
    for part in invokes.InvokeStream(_pieces(name, event), timeout=30, metadata=metadata):
        match part.WhichOneof("part"):
            case "head":
                print(f"InvokeStream: status {part.head.status_code}")
            case "chunk":
                print(f"  {part.chunk.decode(errors='replace')}")
            case "end":
                print(f"  ended after {part.end.duration.ToMilliseconds()} ms")


def _pieces(name: str, event: bytes) -> Iterator[pb.InvokeStreamRequest]:
    yield pb.InvokeStreamRequest(start=pb.InvokeRequest(name=name, payload=event[:PIECE_BYTES]))
    for at in range(PIECE_BYTES, len(event), PIECE_BYTES):
        yield pb.InvokeStreamRequest(chunk=event[at : at + PIECE_BYTES])


if __name__ == "__main__":
    main()
