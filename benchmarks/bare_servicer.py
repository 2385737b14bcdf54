"""The bare lane's servicer: the same two RPCs as invoke_svc, and nothing but forwarding.

    python -m benchmarks.bare_servicer --run-dir DIRECTORY --workload unix:/path

It listens in the run directory of a gateway, and joins there as the service `invoke`.

It has no routes, no admission, no limits, no time limits, no records, no spans, no authentication; whatever goes
wrong goes wrong. It is as quick as such a thing can be made: uvloop, handlers on raw bytes, a parser in C on kept
connections, and the same answer in one batch of operations that invoke_svc uses.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import httptools
import uvloop
from google.api import httpbody_pb2

from mesh.auth import ServiceToken
from mesh.membership import joined

SERVICE = "fnmesh.internal.invoke.v1.HttpService"
_KEPT_BACK = ("x-fn-", "x-fnmesh-", "grpc-", "user-agent", "content-length")


class Connection(asyncio.Protocol):
    """One kept connection to the workload; one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def send(self, request: bytes) -> asyncio.Future[bytes]:
        """Sends a request; the result is the body of its answer, `headers` its headers."""
        self.headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    @property
    def status(self) -> int:
        return int(self._parser.get_status_code())

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._answer.set_result(b"".join(self._body))


class BareLane:
    """Forwards to one workload."""

    def __init__(self, workload: str) -> None:
        self._path = workload.removeprefix("unix:")
        self._idle: list[Connection] = []

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server."""
        handlers: dict[str, Any] = {
            "InvokeHttp": grpc.unary_unary_rpc_method_handler(self.unary),
            "InvokeHttpStream": grpc.stream_unary_rpc_method_handler(self.stream),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def stream(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        """A request whose body comes in pieces: put together first."""
        data = b"".join([httpbody_pb2.HttpBody.FromString(message).data async for message in messages])
        return await self._forward(data, context)

    async def unary(self, message: bytes, context: Any) -> bytes:
        """A request whose body is there."""
        return await self._forward(httpbody_pb2.HttpBody.FromString(message).data, context)

    async def _forward(self, body: bytes, context: Any) -> bytes:
        metadata = context.invocation_metadata()
        sent = dict(metadata)
        lines = [f"{sent['x-fn-method']} {sent['x-fn-path']} HTTP/1.1", f"host: {sent['x-fn-host']}"]
        lines += [f"{name}: {value}" for name, value in metadata if not name.startswith(_KEPT_BACK)]
        if body:
            lines.append(f"content-length: {len(body)}")
        connection = self._idle.pop() if self._idle else await self._connect()
        data = await connection.send("\r\n".join((*lines, "", "")).encode() + body)
        answer = [("x-fn-status", str(connection.status))]
        for name, value in connection.headers:
            text = value.decode()
            if name.lower() == b"content-type":
                answer.append(("x-fn-ct", text))
            else:
                answer.append(("x-fn-h", f"{name.decode().lower()}={text}"))
        self._idle.append(connection)
        await context.send_initial_metadata(answer)
        return cast(bytes, httpbody_pb2.HttpBody(data=data).SerializeToString())

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_unix_connection(Connection, self._path))[1]


async def serve(run_dir: Path, workload: str) -> None:
    """Serves until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    listen = f"unix:{run_dir}/m/bare.sock"
    server = grpc.aio.server()
    BareLane(workload).register(server)
    server.add_insecure_port(listen)
    await server.start()
    token = ServiceToken.read(run_dir / "token")
    async with joined(f"unix:{run_dir}/m/gateway.sock", "invoke", listen, token=token):
        await stop.wait()
    await server.stop(1)


def main() -> None:
    """Runs the command line described above."""
    parser = argparse.ArgumentParser(description="A servicer that only forwards.")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--workload", required=True)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.run_dir, arguments.workload))


if __name__ == "__main__":
    main()
