"""Requests to functions that shall not be waited for (`Prefer: respond-async`): each becomes a job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from invoke_svc.domain import Route
from invoke_svc.http_head import RequestHead
from invoke_svc.jobs.creation import Creation, Order, of_function
from invoke_svc.jobs.http_events import event_of
from invoke_svc.jobs.messages import EventTooLarge


class Deferring:
    """Makes jobs of requests."""

    def __init__(self, creation: Creation) -> None:
        self._creation = creation

    async def defer(
        self, route: Route, request: RequestHead, pieces: AsyncIterator[bytes | memoryview], uid: str
    ) -> str:
        """The identifier of the job. `uid` names the request. Raises EventTooLarge, InvalidArgument (EVENT_INVALID)."""
        limit = self._creation.event_bytes
        body = bytearray()
        async for piece in pieces:
            body += piece
            if len(body) > limit:
                raise EventTooLarge(limit)
        event, http = event_of(route, request, bytes(body), uid)
        if len(event) > limit:
            raise EventTooLarge(limit)
        job = replace(of_function(route, event), http=http, traceparent=request.traceparent)
        return (await self._creation.place(Order(job), start=True)).uid
