"""Channels to other services: token, deadline, trace context, one tree of errors, retries where they are
safe.

`open_channel(...)` gives a `grpc.aio.Channel` for generated stubs. A unary call is a coroutine; a streaming
call is iterated, read or written as grpc.aio has it. All of them raise `MeshError`, never `grpc.RpcError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from opentelemetry.trace import SpanKind

from mesh import addresses, deadline, telemetry
from mesh.auth import SERVICE_TOKEN_KEY, ServiceToken
from mesh.errors import NOT_LEADER, MeshError, Unavailable, from_rpc_error
from mesh.loops import Backoff
from mesh.rpc_refusal import Refusal

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
IDEMPOTENT_PREFIXES = ("Get", "List", "Verify", "Resolve", "Check")
ATTEMPTS = 4
_OTHERS_ASKED = 10
_BACKOFF = Backoff(first_s=0.1, limit_s=1.0)
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.default_authority", "mesh.local"),
)

Pairs = Sequence[tuple[str, str | bytes]]


def open_channel(
    address: str,
    *,
    token: ServiceToken | None = None,
    default_deadline_s: float | None = 10.0,
    idempotent_methods: frozenset[str] = frozenset(),
    options: Sequence[tuple[str, Any]] = (),
) -> grpc.aio.Channel:
    """A channel to the processes of a service (`mesh.addresses`). It connects when it is first used; close it
    (`async with`).

    Every unary call has the deadline `timeout=`, else `default_deadline_s`, but never more than is left of
    the call being served. Calls that answer with a stream have only the inbound one and `timeout=`. Unary
    calls whose names begin with one of IDEMPOTENT_PREFIXES, or are in `idempotent_methods` (`"DoThing"`), are
    tried again (ATTEMPTS in all, within the deadline) when nobody answers (UNAVAILABLE). A call of one message that is
    answered with a stream is sent to the next process where the first one stands by (NOT_LEADER).
    """
    inner = grpc.aio.insecure_channel(
        addresses.grpc_target(address), options=[*_OPTIONS, *addresses.grpc_options(address), *options]
    )
    return _MeshChannel(inner, token, default_deadline_s, idempotent_methods)


class _MeshChannel(grpc.aio.Channel):
    def __init__(
        self,
        inner: grpc.aio.Channel,
        token: ServiceToken | None,
        default_deadline_s: float | None,
        idempotent_methods: frozenset[str],
    ) -> None:
        self._inner = inner
        self._fixed: list[tuple[str, str | bytes]] = [(SERVICE_TOKEN_KEY, token.value)] if token else []
        self._default_deadline_s = default_deadline_s
        self._idempotent_methods = idempotent_methods

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        await self.close()
        return None

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    def _metadata(self, given: Pairs | None) -> list[tuple[str, str | bytes]]:
        return [*self._fixed, *telemetry.inject(), *(given or ())]

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        inner: Callable[..., Any] = self._inner.unary_unary(method, *args, **kwargs)
        name = method.rpartition("/")[2]
        attempts = ATTEMPTS if name.startswith(IDEMPOTENT_PREFIXES) or name in self._idempotent_methods else 1

        async def attempt(request: Any, timeout: float | None, metadata: Pairs | None, kwargs: dict[str, Any]) -> Any:
            limit = deadline.bounded(timeout if timeout is not None else self._default_deadline_s)
            loop = asyncio.get_running_loop()
            ends = None if limit is None else loop.time() + limit
            for tried in range(1, attempts + 1):
                left = None if ends is None else max(0.0, ends - loop.time())
                try:
                    return await inner(request, timeout=left, metadata=self._metadata(metadata), **kwargs)
                except grpc.aio.AioRpcError as error:
                    told = from_rpc_error(error)
                    if not isinstance(told, Unavailable) or tried == attempts:
                        raise told from None
                pause = told.retry_after_s if told.retry_after_s is not None else _BACKOFF.delay_s(tried)
                if ends is not None and loop.time() + pause >= ends:
                    raise told
                await asyncio.sleep(pause)
            raise AssertionError("unreachable")

        async def call(
            request: Any, *, timeout: float | None = None, metadata: Pairs | None = None, **kwargs: Any
        ) -> Any:
            with telemetry.span(method.removeprefix("/"), SpanKind.CLIENT):
                return await attempt(request, timeout, metadata, kwargs)

        return call

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._streaming(self._inner.unary_stream(method, *args, **kwargs), None, elsewhere=True)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._streaming(self._inner.stream_unary(method, *args, **kwargs), self._default_deadline_s)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._streaming(self._inner.stream_stream(method, *args, **kwargs), None)

    def _streaming(self, inner: Any, default_s: float | None, *, elsewhere: bool = False) -> Callable[..., StreamCall]:
        def call(
            request: Any = None,
            *,
            timeout: float | None = None,
            metadata: Pairs | None = None,
            **kwargs: Any,
        ) -> StreamCall:
            def begin() -> Any:
                limit = deadline.bounded(timeout if timeout is not None else default_s)
                return inner(request, timeout=limit, metadata=self._metadata(metadata), **kwargs)

            return StreamCall(begin(), begin if elsewhere else None)

        return call


class StreamCall:
    """A streaming call of grpc.aio that raises MeshError.

    As with grpc.aio, iteration may be broken off and taken up again; the call ends with its last message,
    with `cancel()`, or when nothing refers to it any more.
    """

    def __init__(self, inner: Any, elsewhere: Callable[[], Any] | None = None) -> None:
        """`elsewhere` makes the call again, where that is safe as long as nothing was begun."""
        self._try = _Try(inner, elsewhere)  # apart from this object: what iterates must not keep it
        self._iterator: AsyncIterator[Any] | None = None

    @property
    def _inner(self) -> Any:
        return self._try.call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = _items(self._try)
        return self._iterator

    def __await__(self) -> Generator[Any, None, Any]:
        return _translated(self._answer()).__await__()

    async def _answer(self) -> Any:
        refusal = Refusal(self._inner)
        try:
            return await self._inner
        except grpc.aio.AioRpcError as error:
            raise refusal.instead_of(error) from None

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF`."""
        return await _translated(self._inner.read())

    async def write(self, request: Any) -> None:
        """Sends a message; waits while the other side takes none."""
        await _translated(self._inner.write(request))

    async def done_writing(self) -> None:
        """Says that no more messages follow."""
        await _translated(self._inner.done_writing())

    async def initial_metadata(self) -> Any:
        """What the other side sent first."""
        return await _translated(self._inner.initial_metadata())

    async def wait_for_connection(self) -> None:
        """Returns when the other side has been reached."""
        await _translated(self._inner.wait_for_connection())


@dataclass(slots=True)
class _Try:
    """The call of grpc.aio as it is now, and what makes another one."""

    call: Any
    elsewhere: Callable[[], Any] | None


async def _items(now: _Try) -> AsyncIterator[Any]:
    others = _OTHERS_ASKED
    try:
        while True:
            try:
                async for item in now.call:
                    others = 0
                    yield item
                return
            except grpc.aio.AioRpcError as error:
                told = from_rpc_error(error)
                if told.reason != NOT_LEADER or now.elsewhere is None or others == 0:
                    raise told from None
            others -= 1
            await asyncio.sleep(told.retry_after_s or 0)
            now.call = now.elsewhere()
    finally:
        now.call.cancel()


async def _translated(call: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    except asyncio.InvalidStateError:
        raise _ended() from None


def _ended() -> MeshError:
    return Unavailable("STREAM_ENDED", "The other side has ended the stream.")
