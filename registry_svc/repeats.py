"""Calls with a request_id (AIP-155): a repeated one gets the first one's answer, for a day."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.auth import current_principal
from mesh.clock import Clock
from mesh.errors import InvalidArgument
from mesh.secrets_key import EnvCipher
from registry_svc.rules import request_id as checked
from registry_svc.tables import requests

KEPT = timedelta(days=1)


class Repeats:
    """Remembers answers by method, caller and request_id."""

    def __init__(self, cipher: EnvCipher, clock: Clock) -> None:
        self._cipher = cipher
        self._clock = clock

    async def answer(self, conn: AsyncConnection, method: str, request_id: str, request: bytes) -> bytes | None:
        """What the same call was answered before. InvalidArgument where the id came with another request."""
        if not checked(request_id):
            return None
        query = sa.select(requests).where(
            requests.c.id == _key(method, request_id), requests.c.create_time > self._clock.now() - KEPT
        )
        row = (await conn.execute(query)).one_or_none()
        if row is None:
            return None
        if row.fingerprint != self._cipher.fingerprint(request):
            message = "This request_id came with another request before; use a new one for each request."
            raise InvalidArgument("REQUEST_ID_REUSED", message, fields={"request_id": message})
        return bytes(row.answer)

    async def remember(
        self, conn: AsyncConnection, method: str, request_id: str, request: bytes, answer: bytes
    ) -> None:
        """Keeps the answer of a call that has a request_id."""
        if not request_id:
            return
        key = _key(method, request_id)
        await conn.execute(requests.delete().where(requests.c.id == key))
        await conn.execute(
            requests.insert().values(
                id=key,
                fingerprint=self._cipher.fingerprint(request),
                answer=answer,
                create_time=self._clock.now(),
            )
        )

    async def purge(self, conn: AsyncConnection) -> None:
        """Forgets what is older than a day."""
        await conn.execute(requests.delete().where(requests.c.create_time <= self._clock.now() - KEPT))


def _key(method: str, request_id: str) -> str:
    text = f"{method}\n{current_principal().key_id}\n{request_id}"
    return hashlib.sha256(text.encode()).hexdigest()
