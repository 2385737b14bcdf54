"""HTTP to one cluster, by the client of the Kubernetes project: its refusals and silences as errors of the mesh."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import aiohttp

from deploy_svc.kubernetes.credentials import Access
from deploy_svc.kubernetes.errors import Asked, no_answer, refusal

Query = Sequence[tuple[str, str]]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
_JSON = "application/json"
_ANSWER_S = 15.0
_CONNECT_S = 5.0
_LINE_BYTES = 8 << 20  # no object may be larger than 1.5 MiB


class Transport:
    """Calls and streams of one context."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.context = access.context

    async def close(self) -> None:
        """End all calls and streams."""
        await self._access.close()

    async def call(
        self,
        method: str,
        path: str,
        asked: Asked,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
    ) -> dict[str, Any]:
        """The object that is answered. Raises Unavailable, and what `errors.refusal` makes of refusals."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S)
        async with self._opened(method, path, asked, query, timeout, body, content_type) as response:
            text = await response.read()
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise no_answer(self.context, "what answers there is no API server") from error
        return answer if isinstance(answer, dict) else {}

    async def lines(self, path: str, asked: Asked, query: Query, *, silent_s: float) -> AsyncGenerator[bytes, None]:
        """The lines of a stream until it ends, and first an empty one when it begins.

        Raises Unavailable where it is silent for too long.
        """
        left = b""
        async with aclosing(self.blocks(path, asked, query, silent_s=silent_s)) as blocks:
            async for block in blocks:
                if not block:
                    yield b""
                *whole, left = (left + block).split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line
                if len(left) > _LINE_BYTES:
                    raise no_answer(self.context, "a line of its stream has no end")

    async def blocks(self, path: str, asked: Asked, query: Query, *, silent_s: float) -> AsyncGenerator[bytes, None]:
        """A stream as it comes, and first an empty block when it begins. Raises Unavailable as `lines` does."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=silent_s)
        async with self._opened("GET", path, asked, query, timeout) as response:
            yield b""
            while block := await response.content.readany():
                yield block

    @asynccontextmanager
    async def _opened(
        self,
        method: str,
        path: str,
        asked: Asked,
        query: Query,
        timeout: aiohttp.ClientTimeout,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is no refusal. Credentials that are refused are read anew, once."""
        with self._translated():
            response = await self._send(method, path, query, timeout, body, content_type)
            if response.status == 401:
                response.release()
                self._access.renew()
                response = await self._send(method, path, query, timeout, body, content_type)
            try:
                if response.status >= 400:
                    raise refusal(response.status, await response.read(), asked, self.context, response.headers)
                yield response
            finally:
                response.close()

    async def _send(
        self,
        method: str,
        path: str,
        query: Query,
        timeout: aiohttp.ClientTimeout,
        body: Mapping[str, Any] | None,
        content_type: str,
    ) -> aiohttp.ClientResponse:
        client = await self._access.client()
        headers = {"Accept": _JSON, "Content-Type": content_type}
        request = await client.param_serialize(
            method,
            path,
            query_params=list(query),
            header_params=headers,
            body=dict(body) if body else None,
            auth_settings=["BearerToken"],
        )
        answer = await client.call_api(*request, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise no_answer(self.context, "not in time") from error
        except aiohttp.ClientConnectorError as error:
            raise no_answer(self.context, error.strerror or "no connection") from error
        except (aiohttp.ClientError, OSError) as error:
            raise no_answer(self.context, str(error) or type(error).__name__) from error
