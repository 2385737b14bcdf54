"""Use cases of API keys, and the verifier that the registry itself uses.

A secret is `fnm_`, 8 characters that are the key's id, and 32 more (190 bits): it is looked up by the id, and
its SHA-256 compared in constant time. No slow hash is needed for a secret that cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.auth import Principal, Scope, require_scope
from mesh.clock import Clock
from mesh.db import Database
from mesh.errors import NotFound, PermissionDenied, Unauthenticated
from mesh.keys import SCOPES
from mesh.names import API_KEY, parse
from registry_svc import rules
from registry_svc.context import Context
from registry_svc.domain import ApiKey
from registry_svc.key_store import KeyStore

PREFIX = "fnm_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARACTERS = 8
_SECRET = re.compile(r"fnm_([0-9A-Za-z]{8})[0-9A-Za-z]{32}")


def new_key(
    display_name: str,
    scopes: Sequence[int],
    workspace_uid: str,
    now: datetime,
    expire_time: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A key and its secret. InvalidArgument."""
    if len(display_name) > 128 or not rules.shown(display_name):
        rules.refuse("NAME_INVALID", "display_name", "display_name has at most 128 characters, no control ones.")
    if not scopes or any(scope not in SCOPES for scope in scopes):
        rules.refuse("SCOPES_INVALID", "scopes", "Name at least one of the scopes admin, deploy, invoke.")
    if expire_time is not None and expire_time <= now:
        rules.refuse("TIME_INVALID", "expire_time", "expire_time is in the past.")
    text = "".join(secrets.choice(_ALPHABET) for _ in range(40))
    secret = PREFIX + text
    key = ApiKey(
        key_id=text[:_ID_CHARACTERS],
        display_name=display_name,
        scopes=tuple(sorted(set(scopes))),
        workspace_uid=workspace_uid,
        secret_hash=hash_secret(secret),
        create_time=now,
        expire_time=expire_time,
    )
    return key, secret


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


class ApiKeys:
    """Makes, lists, revokes and verifies keys."""

    def __init__(self, context: Context, store: KeyStore) -> None:
        self._context = context
        self._store = store

    async def create(
        self,
        conn: AsyncConnection,
        display_name: str,
        scopes: Sequence[int],
        workspace: str,
        expire_time: datetime | None,
    ) -> tuple[ApiKey, str]:
        """Makes a key; who is bound to a workspace makes keys of that workspace only."""
        bound = require_scope(Scope.ADMIN).workspace
        uid = ""
        if workspace:
            uid = (await self._context.workspace(conn, workspace, field="api_key.workspace")).uid
        elif bound:
            raise PermissionDenied("WORKSPACE_DENIED", "The API key is bound to a workspace; name that one.")
        key, secret = new_key(display_name, scopes, uid, self._context.clock.now(), expire_time)
        await self._store.insert(conn, key)
        return key, secret

    async def page(self, conn: AsyncConnection, *, before: tuple[datetime, str] | None, limit: int) -> list[ApiKey]:
        """Keys that the caller may see, newest first."""
        bound = require_scope(Scope.ADMIN).workspace
        return await self._store.page(conn, workspace_uid=bound, before=before, limit=limit)

    async def revoke(self, conn: AsyncConnection, name: str) -> ApiKey:
        """Revokes a key; may be repeated."""
        bound = require_scope(Scope.ADMIN).workspace
        (key_id,) = parse(API_KEY, name)
        key = await self._store.find(conn, key_id)
        if key is None or (bound and key.workspace_uid != bound):
            raise NotFound("KEY_NOT_FOUND", f"There is no API key '{key_id}'.")
        await self._store.revoke(conn, key_id, self._context.clock.now())
        return await self._store.find(conn, key_id) or key


class StoreKeyVerifier:
    """Looks keys up in the registry's own database."""

    def __init__(self, database: Database, store: KeyStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock

    async def verify(self, secret: str) -> Principal:
        matched = _SECRET.fullmatch(secret)
        key = None
        if matched is not None:
            async with self._database.read() as conn:
                key = await self._store.find(conn, matched.group(1))
        stored = key.secret_hash if key is not None else bytes(32)
        same = hmac.compare_digest(stored, hash_secret(secret))
        if key is None or not same or not key.good_at(self._clock.now()):
            raise Unauthenticated("KEY_INVALID", "The API key is unknown, revoked or expired.")
        return Principal(
            scopes=frozenset(SCOPES[scope] for scope in key.scopes),
            workspace=key.workspace_uid,
            key_id=key.key_id,
        )
