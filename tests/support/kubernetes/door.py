"""The server's HTTP side, as an ASGI application: one request in, a Status, an object, or a stream out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.support.kubernetes import access, discovery, requests, statuses
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.answers import Answers
from tests.support.kubernetes.api import Target
from tests.support.kubernetes.faults import Asked, Fault, Faults, Ledger
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.resources import Catalog
from tests.support.kubernetes.schemas import KUBERNETES_VERSION
from tests.support.kubernetes.statuses import ApiError, PageNotFound
from tests.support.kubernetes.watching import WatchDropped

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class _Answer:
    """A JSON object, or a stream."""

    code: int
    found: Any = None
    parts: AsyncGenerator[bytes, None] | None = None
    content_type: str = "application/json"
    warnings: list[str] = field(default_factory=list)


_OK_PATHS = ("/healthz", "/readyz", "/livez")


class Door:
    """What `uvicorn` calls; `hang_up` ends the connection of a client at once."""

    def __init__(
        self, catalog: Catalog, reach: Access, faults: Faults, ledger: Ledger, answers: Answers,
        hang_up: Callable[[tuple[str, int]], None],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._access = reach
        self._faults = faults
        self._ledger = ledger
        self._answers = answers
        self._hang_up = hang_up

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        request = await _read(scope, receive)
        try:
            await self._answer(request, receive, send)
        except WatchDropped:
            self._hang_up(scope["client"])
            while (await receive())["type"] != "http.disconnect":
                pass
        except PageNotFound:
            await _send(send, 404, b"404 page not found\n", "text/plain; charset=utf-8")
        except ApiError as error:
            await _send_json(send, error.code, error.status, error.headers)

    async def _answer(self, request: Request, receive: Receive, send: Send) -> None:
        if self._faults.latency_s:
            await asyncio.sleep(self._faults.latency_s)
        holder = self._access.holder(request.headers.get("authorization", ""))
        if (found := self._discovered(request.path)) is not None:
            if request.method not in ("GET", "HEAD"):
                raise statuses.method_not_allowed()
            if holder.name == access.ANONYMOUS and request.path != "/version":
                raise access.forbidden_path(holder, "get", request.path)
            await _send_json(send, 200, found)
            return
        if request.path in _OK_PATHS:
            await _send(send, 200, b"ok", "text/plain; charset=utf-8")
            return
        target = requests.target_of(self._catalog, request.path)
        verb = request.verb(target)
        asked = Asked(
            verb, target.resource.plural if target.resource.group != "metrics.k8s.io" else target.resource.qualified,
            target.namespace, target.name, target.subresource, request.content_type, holder.name,
            request.query.get("dryRun") == "All",
        )  # fmt: skip
        code = 0
        try:
            answer = self._decided(asked, request, target, holder)
            code = answer.code
        except ApiError as error:
            code = error.code
            raise
        finally:
            # Before it is sent, so that who has the answer finds it counted.
            self._ledger.add(replace(asked, code=code))
        if answer.parts is not None:
            await _stream(send, receive, answer.parts, answer.content_type)
        else:
            await _send_json(send, code, answer.found, {}, answer.warnings)

    def _decided(self, asked: Asked, request: Request, target: Target, holder: access.Holder) -> _Answer:
        fault = self._faults.take(asked)
        if fault is not None and not fault.after:
            raise _failing(fault, asked)
        access.require(holder, asked.verb, target)
        if asked.verb == "watch":
            return _Answer(200, parts=self._answers.watch(target, request))
        if target.subresource == "log":
            return _Answer(200, parts=self._answers.log(target, request), content_type="text/plain")
        code, found, warnings = self._answers.perform(asked.verb, target, request, holder)
        if fault is not None:
            raise _failing(fault, asked)
        return _Answer(code, found, warnings=warnings)

    def _discovered(self, path: str) -> Any | None:
        steps = [step for step in path.split("/") if step]
        match steps:
            case ["version"]:
                return discovery.version(KUBERNETES_VERSION)
            case ["api"]:
                return discovery.core_versions("127.0.0.1")
            case ["apis"]:
                return discovery.groups(self._catalog)
            case ["api", version]:
                found = discovery.resources(self._catalog, "", version)
            case ["apis", group]:
                found = discovery.group(self._catalog, group)
            case ["apis", group, version]:
                found = discovery.resources(self._catalog, group, version)
            case _:
                return None
        if found is None:
            raise PageNotFound
        return found


def _failing(fault: Fault, asked: Asked) -> Exception:
    return fault.error(asked) if fault.code else WatchDropped()


async def _read(scope: Message, receive: Receive) -> Request:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], unquote(scope["path"]), query, headers, body)


async def _stream(send: Send, receive: Receive, parts: AsyncGenerator[bytes, None], content_type: str) -> None:
    """Sends the parts as they come, until there are no more or the client has gone. Raises WatchDropped."""

    async def forward() -> bool:
        head = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        # An empty part has the head sent, so that the client knows that the stream has begun.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        try:
            async with aclosing(parts) as open_parts:
                async for part in open_parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except WatchDropped:
            return True
        finally:
            leaving.cancel()
        return False

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        forwarding.cancel()

    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(leave())
        forwarding = group.create_task(forward())
    if not forwarding.cancelled() and forwarding.result():
        raise WatchDropped


async def _send_json(
    send: Send, code: int, answer: Any, headers: dict[str, str] | None = None, warnings: list[str] | None = None
) -> None:
    listed = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    listed += [(b"warning", f'299 - "{said}"'.replace('\\"', "'").encode()) for said in warnings or []]
    await _send(send, code, json.dumps(answer).encode(), "application/json", listed)


async def _send(
    send: Send, code: int, body: bytes, content_type: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    own = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": code, "headers": [*own, *(headers or [])]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
