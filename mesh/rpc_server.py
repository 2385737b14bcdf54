"""gRPC servers: one interceptor for errors, auth, deadlines and traces; health; reflection; a graceful drain."""

from __future__ import annotations

import asyncio
import inspect
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import SpanKind

from mesh import auth, deadline, disk, telemetry
from mesh.auth import Authenticator
from mesh.draining import Draining
from mesh.errors import (
    STATUS_DETAILS_KEY,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    to_status,
)
from mesh.logs import get_logger
from mesh.reflected import pool_of
from mesh.rpc_client import MAX_MESSAGE_BYTES

log = get_logger(__name__)

LONG_PREFIXES = ("Watch", "Join", "Follow")
_OPEN_SERVICES = frozenset({health.SERVICE_NAME, reflection.SERVICE_NAME})
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ("grpc.http2.max_ping_strikes", 0),
)


@dataclass
class BoundServer:
    """A server that is running. `address` is what clients dial: `unix:/path` or `host:port`."""

    address: str
    draining: Draining
    _health: health.aio.HealthServicer
    _services: tuple[str, ...]

    async def set_serving(self, serving: bool) -> None:
        """What the health service says of this server and of each of its services."""
        kinds = health_pb2.HealthCheckResponse
        status = kinds.SERVING if serving else kinds.NOT_SERVING
        for service in ("", *self._services):
            await self._health.set(service, status)

    async def set_service_serving(self, service: str, serving: bool) -> None:
        """What the health service says of one name: for a server that speaks for others."""
        kinds = health_pb2.HealthCheckResponse
        await self._health.set(service, kinds.SERVING if serving else kinds.NOT_SERVING)


@asynccontextmanager
async def serve(
    listen: str,
    register: Callable[[grpc.aio.Server], None],
    *,
    public_services: Sequence[str],
    internal_services: Sequence[str] = (),
    auth: Authenticator,
    lean_methods: frozenset[str] = frozenset(),
    long_methods: frozenset[str] = frozenset(),
    drain_s: float = 10.0,
    options: Sequence[tuple[str, Any]] = (),
) -> AsyncIterator[BoundServer]:
    """Runs a gRPC server for as long as the context lasts, then drains it.

    `listen` is `unix:/path` (made with mode 0600) or `host:port` (port 0 picks one). `register` adds the
    servicers. Full names in `public_services` are reflected and take API keys; those in `internal_services`
    take the service token only; anything else is refused. `lean_methods` (`"/pkg.Service/Method"`) get
    authentication only: no span, no mapping of errors. `long_methods` (`"Method"`) are ended on drain like
    those of LONG_PREFIXES.

    On exit: health NOT_SERVING, which sends the calls of channels to several processes elsewhere; once no more come,
    long streams are ended with UNAVAILABLE and the other calls have `drain_s` to finish. Raises OSError where the
    address cannot be bound.
    """
    draining = Draining()
    interceptor = _Interceptor(
        auth, frozenset(public_services), frozenset(internal_services), lean_methods, long_methods, draining
    )
    server = grpc.aio.server(interceptors=[interceptor], options=[*_OPTIONS, *options])
    register(server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflected = [*public_services, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(reflected, server, pool=pool_of(reflected))
    address = _bind(server, listen)
    bound = BoundServer(address, draining, health_servicer, (*public_services, *internal_services))
    await server.start()
    await bound.set_serving(True)
    try:
        yield bound
    finally:
        await bound.set_serving(False)
        await draining.quiet(callers_stay=bool(draining.tasks))
        draining.begin()
        await server.stop(drain_s)


def _bind(server: grpc.aio.Server, listen: str) -> str:
    path = Path(listen.removeprefix("unix:")) if listen.startswith("unix:") else None
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if len(str(path)) > 107:
            raise OSError(f"the socket path {path} is longer than 107 characters; choose a shorter run directory")
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {listen}: {error}") from None
    if path is not None:
        path.chmod(0o600)
        return listen
    if port == 0:
        raise OSError(f"cannot listen on {listen}")
    return f"{listen.rpartition(':')[0]}:{port}"


class _Interceptor(grpc.aio.ServerInterceptor):
    def __init__(
        self,
        authenticator: Authenticator,
        public: frozenset[str],
        internal: frozenset[str],
        lean: frozenset[str],
        long: frozenset[str],
        draining: Draining,
    ) -> None:
        self._auth = authenticator
        self._public = public
        self._internal = internal
        self._lean = lean
        self._long = long
        self._draining = draining

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        details = handler_call_details
        handler = await continuation(details)
        if handler is None:
            return None
        _, service, method = details.method.split("/", 2)
        draining = self._draining if method.startswith(LONG_PREFIXES) or method in self._long else None
        if service in _OPEN_SERVICES:
            return handler if draining is None else _wrapped(handler, details.method, draining)
        self._draining.calls += 1
        # Each call has its own task and context, so what is set here holds for its handler and ends with it.
        metadata: Any = details.invocation_metadata or ()
        try:
            auth.set_current(await self._authenticate(service, metadata))
        except MeshError as error:
            return _refusal(handler, error)
        if details.method in self._lean:
            return handler
        telemetry.enter(telemetry.extract(metadata), auth.current_principal().workspace)
        return _wrapped(handler, details.method.removeprefix("/"), draining)

    async def _authenticate(self, service: str, metadata: Any) -> auth.Principal:
        if service not in self._public and service not in self._internal:
            raise Unauthenticated("SERVICE_UNKNOWN", "This service is not one that may be called.")
        try:
            return await self._auth.authenticate(metadata, internal=service in self._internal)
        except MeshError:
            raise
        except Exception as error:
            log.exception("authentication_failed", error)
            raise Unavailable("AUTH_UNAVAILABLE", "API keys cannot be checked right now; try again.") from None


def _wrapped(handler: Any, name: str, draining: Draining | None) -> Any:
    """The handler within deadline, span and the mapping of errors; `draining` where its stream is a long one."""
    inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    generator = inspect.isasyncgenfunction(inner)

    async def run(request: Any, context: Any) -> Any:
        deadline.set_remaining(context.time_remaining())
        task = asyncio.current_task()
        if draining is not None and task is not None:
            if draining.event.is_set():
                await _abort(context, _stopping())
            draining.tasks.add(task)
        try:
            # A stream that lasts for as long as the process has no duration worth a span.
            with nullcontext() if draining is not None else telemetry.span(name, SpanKind.SERVER):
                request = _readable(request, handler)
                if not generator:
                    return await inner(request, context)
                async with aclosing(inner(request, context)) as messages:
                    async for message in messages:
                        await context.write(message)
        except grpc.aio.AbortError:
            raise
        except MeshError as error:
            await _abort(context, error)
        except asyncio.CancelledError:
            if draining is None or not draining.event.is_set() or task is None:
                raise
            task.uncancel()
            await _abort(context, _stopping())
        except Exception as error:
            await _abort(context, _unexpected(error, name))
        finally:
            if draining is not None and task is not None:
                draining.tasks.discard(task)

    return _rebuilt(handler, run)


def _refusal(handler: Any, error: MeshError) -> Any:
    async def refuse(request: Any, context: Any) -> None:
        await _abort(context, error)

    return _rebuilt(handler, refuse)


def _rebuilt(handler: Any, behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    kinds: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(
        behaviour,
        request_deserializer=_lenient(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


class _Unreadable:
    """Stands for a message that is not one of the method's: gRPC itself would answer INTERNAL and log a traceback."""


def _lenient(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception:
            return _Unreadable()

    return read


def _readable(request: Any, handler: Any) -> Any:
    """The request, or the iterator over its messages. Both raise InvalidArgument for one that cannot be decoded."""
    return _Messages(request) if handler.request_streaming else _checked(request)


def _checked(message: Any) -> Any:
    if isinstance(message, _Unreadable):
        raise InvalidArgument(
            "REQUEST_UNREADABLE", "The bytes sent are not a message of this method: call it with a client of this API."
        )
    return message


class _Messages:
    def __init__(self, messages: Any) -> None:
        self._next = aiter(messages)

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Any:
        return _checked(await anext(self._next))


def _stopping() -> MeshError:
    return Unavailable("STOPPING", "The service is stopping; call again.", retry_after_s=0.2)


def _unexpected(error: Exception, method: str) -> MeshError:
    left = deadline.remaining_s()
    if isinstance(error, TimeoutError) and left is not None and left <= 0:
        return DeadlineExceeded("DEADLINE_EXCEEDED", "The call took longer than its deadline.")
    if isinstance(error, NotImplementedError):
        return Unimplemented("UNIMPLEMENTED", "This version of the mesh does not have this call; upgrade the mesh.")
    behind = disk.told(error)
    if behind is not None:
        log.error("disk_refuses", method=method, reason=behind.reason, error=behind.message)
        return behind
    log_id = secrets.token_hex(6)
    log.exception("rpc_failed", error, method=method, log_id=log_id)
    return Internal("INTERNAL", f"Something went wrong inside the mesh (log id {log_id}).", log_id=log_id)


async def _abort(context: Any, error: MeshError) -> None:
    details = to_status(error).SerializeToString()
    await context.abort(error.code, error.message, trailing_metadata=((STATUS_DETAILS_KEY, details),))
