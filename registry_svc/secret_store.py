"""Secrets in their table, each value encrypted for its place. All calls take the caller's transaction."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.secrets_key import EnvCipher
from registry_svc.domain import Secret
from registry_svc.tables import secrets


class SecretStore:
    """The table of secrets. Only `values` decrypts."""

    def __init__(self, cipher: EnvCipher) -> None:
        self._cipher = cipher

    async def put(self, conn: AsyncConnection, secret: Secret, value: str) -> None:
        """Sets a secret, in place of the one that was there."""
        at = (secrets.c.function_uid == secret.function_uid, secrets.c.key == secret.key)
        await conn.execute(secrets.delete().where(*at))
        stored = self._cipher.encrypt({secret.key: value}, _place(secret.function_uid, secret.key))
        await conn.execute(
            secrets.insert().values(
                function_uid=secret.function_uid, key=secret.key, value=stored, set_time=secret.set_time
            )
        )

    async def delete(self, conn: AsyncConnection, function_uid: str, key: str) -> bool:
        """Removes a secret; whether there was one."""
        query = secrets.delete().where(secrets.c.function_uid == function_uid, secrets.c.key == key)
        return bool((await conn.execute(query)).rowcount)

    async def drop(self, conn: AsyncConnection, function_uid: str) -> None:
        """Removes all secrets of a function."""
        await conn.execute(secrets.delete().where(secrets.c.function_uid == function_uid))

    async def keys(self, conn: AsyncConnection, function_uid: str) -> frozenset[str]:
        """The keys of a function's secrets."""
        query = sa.select(secrets.c.key).where(secrets.c.function_uid == function_uid)
        return frozenset((await conn.execute(query)).scalars())

    async def page(self, conn: AsyncConnection, function_uid: str, *, after: str, limit: int) -> list[Secret]:
        """A function's secrets by key, without their values."""
        query = (
            sa.select(secrets.c.function_uid, secrets.c.key, secrets.c.set_time)
            .where(secrets.c.function_uid == function_uid, secrets.c.key > after)
            .order_by(secrets.c.key)
            .limit(limit)
        )
        return [Secret(**row._mapping) for row in await conn.execute(query)]

    async def values(self, conn: AsyncConnection, function_uid: str) -> dict[str, str]:
        """A function's secrets, decrypted. Raises DecryptionError."""
        found: dict[str, str] = {}
        for row in await conn.execute(sa.select(secrets).where(secrets.c.function_uid == function_uid)):
            found |= self._cipher.decrypt(row.value, _place(row.function_uid, row.key))
        return found

    async def check_key(self, conn: AsyncConnection) -> None:
        """Raises DecryptionError where what is stored was encrypted with another key."""
        row = (await conn.execute(sa.select(secrets).limit(1))).one_or_none()
        if row is not None:
            self._cipher.decrypt(row.value, _place(row.function_uid, row.key))


def _place(function_uid: str, key: str) -> str:
    """What the value of a secret is bound to."""
    return f"secret:{function_uid}:{key}"
