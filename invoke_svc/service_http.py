"""The lane of HTTP requests: HttpService, as Envoy's transcoder calls it. The hot path.

The servicer registers its methods with bytes in and out. Both are unary on the answer's side as far as grpc.aio is
concerned, which costs one batch of operations less than a stream does: pieces are written as they come, and the
last one is returned, to be sent together with the status. On the wire this is the stream that the API names.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
from opentelemetry.trace import SpanContext, SpanKind

from invoke_svc import httpbody
from invoke_svc.domain import (
    CLIENT_GONE,
    MethodNotAllowed,
    NotDeployed,
    PayloadTooLarge,
    RequestTooSlow,
    Route,
    Run,
    Trigger,
)
from invoke_svc.exchange import Dispatcher, Exchange, Upload
from invoke_svc.http_head import RequestHead
from invoke_svc.identity import new_run_uid, new_trace, read_traceparent
from invoke_svc.jobs.http_events import prefers_async
from invoke_svc.routes import RouteTable
from mesh import telemetry
from mesh.auth import KeyVerifier, Scope, bearer_secret, require_any
from mesh.errors import Internal, MeshError, Unauthenticated, error_body
from mesh.logs import get_logger

log = get_logger(__name__)

SERVICE = "fnmesh.internal.invoke.v1.HttpService"
LEAN_METHODS = frozenset((f"/{SERVICE}/InvokeHttp", f"/{SERVICE}/InvokeHttpStream"))
_REQUEST_LINE_LIMIT = 2048
_NO_BODY = frozenset((204, 304))
T = TypeVar("T")


class Recorder(Protocol):
    """Takes the record of a run that has ended."""

    def add(self, run: Run) -> None: ...


class Deferring(Protocol):
    """Makes jobs of requests; see invoke_svc/jobs/deferring.py."""

    async def defer(
        self, route: Route, request: RequestHead, pieces: AsyncIterator[bytes | memoryview], uid: str
    ) -> str: ...


class Context(Protocol):
    """What of grpc.aio's servicer context this lane uses."""

    def invocation_metadata(self) -> Any: ...
    async def send_initial_metadata(self, metadata: Any) -> None: ...
    async def write(self, message: bytes) -> None: ...


@dataclass(frozen=True)
class HttpLane:
    """What both methods need. `verifier` is None where the mesh runs without authentication."""

    routes: RouteTable
    dispatcher: Dispatcher
    recorder: Recorder
    verifier: KeyVerifier | None
    max_body_bytes: int
    deferring: Deferring

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server."""
        handlers: dict[str, Any] = {
            "InvokeHttp": grpc.unary_unary_rpc_method_handler(self.unary),
            "InvokeHttpStream": grpc.stream_unary_rpc_method_handler(self.stream),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def unary(self, message: bytes, context: Context) -> bytes:
        """A request whose body is there."""
        return await _Request(self, context).serve(message, None)

    async def stream(self, messages: AsyncIterator[bytes], context: Context) -> bytes:
        """A request whose body comes in pieces."""
        return await _Request(self, context).serve(b"", messages)


class _Request:
    __slots__ = ("_context", "_headed", "_lane", "_request", "_run", "_to_head")

    def __init__(self, lane: HttpLane, context: Context) -> None:
        self._lane = lane
        self._context = context
        self._headed = False
        self._to_head = False
        now = time.time()
        self._run = Run(uid=new_run_uid(now), trigger=Trigger.HTTP, started=now, trace_id="")

    async def serve(self, message: bytes, messages: AsyncIterator[bytes] | None) -> bytes:
        """Runs the function and sends its answer, or what kept it from answering. Returns the last message."""
        run = self._run
        began = time.perf_counter()
        try:
            return await self._serve(message, messages)
        except MeshError as error:
            return await self._refuse(error)
        except asyncio.CancelledError:
            run.status, run.failed = CLIENT_GONE, True
            run.error = "CANCELLED: The caller went away."
            raise
        except Exception as error:
            log.exception("invoke_failed", error, function=run.function_uid, trace_id=run.trace_id)
            return await self._refuse(Internal("INTERNAL", "Something went wrong inside the mesh."))
        finally:
            if run.function_uid:
                run.duration_s = time.perf_counter() - began
                self._lane.recorder.add(run)

    async def _serve(self, message: bytes, messages: AsyncIterator[bytes] | None) -> bytes:
        lane, run = self._lane, self._run
        request = RequestHead.from_metadata(self._context.invocation_metadata())
        method = request.method
        self._to_head = method == "HEAD"
        run.trace_id, sampled = read_traceparent(request.traceparent)
        if not run.trace_id:
            run.trace_id, request.traceparent = new_trace()
        run.request_line = f"{method} {request.target.partition('?')[0]}"[:_REQUEST_LINE_LIMIT]
        route = lane.routes.find(request.target, method)
        run.function_uid, run.function_name, run.revision = route.uid, route.name, route.revision
        if route.needs_key and lane.verifier is not None:
            await _check_key(lane.verifier, route, request)
        if not route.revision:
            raise NotDeployed
        if messages is None:
            content_type, body = httpbody.decode(message)
        else:
            if request.announced_bytes > lane.max_body_bytes:
                raise PayloadTooLarge(lane.max_body_bytes)
            content_type, body = await _in_time(_first(messages), route)
        request.content_type = request.content_type or content_type
        if request.prefer and prefers_async(request.prefer):
            return await self._defer(route, request, body, messages)
        if not sampled:
            return await self._run_function(route, request, body, messages, None)
        telemetry.enter(telemetry.parse_traceparent(request.traceparent))
        with telemetry.span(
            f"invoke {route.display_name}", SpanKind.SERVER, workspace=route.workspace, function=route.uid
        ) as span:
            parent = span.get_span_context()
            if parent.is_valid:
                request.traceparent = telemetry.format_traceparent(parent)
            try:
                return await self._run_function(route, request, body, messages, parent)
            finally:
                span.set_attribute("http.response.status_code", run.status)
                span.set_attribute("instance", run.instance)

    async def _run_function(
        self,
        route: Route,
        request: RequestHead,
        body: bytes,
        messages: AsyncIterator[bytes] | None,
        parent: SpanContext | None,
    ) -> bytes:
        lane, run = self._lane, self._run
        extra = [
            f"traceparent: {request.traceparent}",
            f"x-fn-timeout-ms: {int(route.timeout_s * 1000)}",
            f"x-fn-request-id: {run.uid}",
        ]
        if request.content_type:
            extra.append(f"content-type: {request.content_type}")
        if request.authorization:
            extra.append(f"authorization: {request.authorization}")
        if messages is None:
            if len(body) > lane.max_body_bytes:
                raise PayloadTooLarge(lane.max_body_bytes)
            run.request_bytes = len(body)
            data = request.encode(extra, len(body)) + body
            exchange = await lane.dispatcher.begin(
                route, run, data, to_head=self._to_head, limit_s=route.timeout_s, parent=parent
            )
            return await self._answer(route, exchange, parent)
        upload = Upload(_pieces(body, messages), lane.max_body_bytes, run)
        head = request.encode(extra, None)
        async with asyncio.TaskGroup() as tasks:
            moving = tasks.create_task(upload.run())
            try:
                if not route.foreign:
                    # Our runtimes call a handler once they have the whole body: nothing is lost by waiting.
                    await _in_time(upload.gathered(), route)
                exchange = await lane.dispatcher.begin(
                    route,
                    run,
                    head,
                    upload=upload,
                    to_head=self._to_head,
                    limit_s=route.timeout_s,
                    parent=parent,
                )
                return await self._answer(route, exchange, parent)
            except MeshError as error:
                # Raised within the group it would come out as an ExceptionGroup.
                failure = error
            finally:
                moving.cancel()
        raise failure

    async def _defer(
        self, route: Route, request: RequestHead, body: bytes, messages: AsyncIterator[bytes] | None
    ) -> bytes:
        """Makes a job of the request and answers with where it is."""
        run = self._run
        pieces = _pieces(body, messages or _no_messages())
        uid = await _in_time(self._lane.deferring.defer(route, request, pieces, run.uid), route)
        run.function_uid = ""  # it has not run: no record
        answer = json.dumps({"job_id": uid, "status": "QUEUED", "location": f"/api/jobs/{uid}"}).encode()
        self._headed = True
        await self._context.send_initial_metadata(
            [
                ("x-fn-status", "202"),
                ("x-fn-ct", "application/json"),
                ("x-fn-h", f"content-length={len(answer)}"),
                ("x-fn-h", f"location=/api/jobs/{uid}"),
                ("x-fn-h", "preference-applied=respond-async"),
            ]
        )
        return b"" if self._to_head else httpbody.encode(answer)

    async def _answer(self, route: Route, exchange: Exchange, parent: SpanContext | None) -> bytes:
        """Passes the answer on, piece by piece as it comes; returns the last piece."""
        context, run, connection = self._context, self._run, exchange.connection
        try:
            run.status = connection.status
            if exchange.head.fn_error:
                run.failed, run.error = True, "HANDLER_ERROR: The handler raised an error."
            elif run.status >= 500:
                run.failed, run.error = True, f"STATUS_{run.status}: The function answered {run.status}."
            self._headed = True
            await context.send_initial_metadata(exchange.head.metadata)
            if self._to_head or run.status in _NO_BODY:
                return b""
            while True:
                pieces = await connection.read_pieces()
                run.response_bytes += sum(map(len, pieces))
                if connection.complete:
                    return httpbody.encode(*pieces)
                await context.write(httpbody.encode(*pieces))
        finally:
            self._lane.dispatcher.end(route, exchange)
            if parent is not None:
                telemetry.emit_span(
                    "workload",
                    parent,
                    exchange.sent_ns,
                    time.time_ns(),
                    kind=SpanKind.CLIENT,
                    instance=run.instance,
                )

    async def _refuse(self, error: MeshError) -> bytes:
        """Sends an error in the function's place; after its head only a reset is honest."""
        run = self._run
        run.failed, run.error = True, f"{error.reason}: {error.message}"
        if self._headed:
            return httpbody.RESET
        self._headed = True
        run.status = error.http
        body = json.dumps(error_body(error, run.trace_id)).encode()
        metadata = [
            ("x-fn-status", str(error.http)),
            ("x-fn-ct", "application/json"),
            ("x-fn-h", f"content-length={len(body)}"),
        ]
        if error.retry_after_s is not None:
            metadata.append(("x-fn-h", f"retry-after={math.ceil(error.retry_after_s)}"))
        if isinstance(error, MethodNotAllowed):
            metadata.append(("x-fn-h", f"allow={error.allow}"))
        if isinstance(error, Unauthenticated):
            metadata.append(("x-fn-h", "www-authenticate=Bearer"))
        await self._context.send_initial_metadata(metadata)
        return b"" if self._to_head else httpbody.encode(body)


async def _in_time(arrival: Awaitable[T], route: Route) -> T:
    """What the caller sends, within the time that its function has. Raises RequestTooSlow."""
    try:
        async with asyncio.timeout(route.timeout_s):
            return await arrival
    except TimeoutError:
        raise RequestTooSlow(route.timeout_s) from None


async def _first(messages: AsyncIterator[bytes]) -> tuple[str, bytes]:
    async for message in messages:
        return httpbody.decode(message)
    return "", b""


async def _no_messages() -> AsyncIterator[bytes]:
    return
    yield b""


async def _pieces(first: bytes, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes | memoryview]:
    yield first
    async for message in messages:
        yield httpbody.decode_piece(message)


async def _check_key(verifier: KeyVerifier, route: Route, request: RequestHead) -> None:
    """Lets holders of a key with the scope `invoke` in. The key is the mesh's and not for the function to see."""
    principal = await verifier.verify(bearer_secret(request.authorization))
    require_any(principal, (Scope.INVOKE,), route.workspace)
    request.authorization = ""
