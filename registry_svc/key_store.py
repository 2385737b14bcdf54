"""API keys in their table. All calls take the caller's transaction."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from registry_svc.domain import ApiKey
from registry_svc.tables import api_keys


class KeyStore:
    """The table of API keys."""

    async def find(self, conn: AsyncConnection, key_id: str) -> ApiKey | None:
        """One key, revoked or not."""
        row = (await conn.execute(sa.select(api_keys).where(api_keys.c.key_id == key_id))).one_or_none()
        return None if row is None else _key(row)

    async def insert(self, conn: AsyncConnection, key: ApiKey) -> None:
        """Adds a key."""
        await conn.execute(api_keys.insert().values(**asdict(key) | {"scopes": list(key.scopes)}))

    async def revoke(self, conn: AsyncConnection, key_id: str, now: datetime) -> None:
        """Revokes a key; one that is revoked stays as it is."""
        await conn.execute(
            api_keys.update()
            .where(api_keys.c.key_id == key_id, api_keys.c.revoke_time.is_(None))
            .values(revoke_time=now)
        )

    async def revoke_of_workspace(self, conn: AsyncConnection, workspace_uid: str, now: datetime) -> None:
        """Revokes all keys that are bound to a workspace."""
        await conn.execute(
            api_keys.update()
            .where(api_keys.c.workspace_uid == workspace_uid, api_keys.c.revoke_time.is_(None))
            .values(revoke_time=now)
        )

    async def page(
        self, conn: AsyncConnection, *, workspace_uid: str, before: tuple[datetime, str] | None, limit: int
    ) -> list[ApiKey]:
        """Keys, newest first; of one workspace where it is given."""
        query = sa.select(api_keys)
        if workspace_uid:
            query = query.where(api_keys.c.workspace_uid == workspace_uid)
        if before is not None:
            made, key_id = before
            query = query.where(
                sa.or_(
                    api_keys.c.create_time < made,
                    sa.and_(api_keys.c.create_time == made, api_keys.c.key_id < key_id),
                )
            )
        rows = await conn.execute(query.order_by(api_keys.c.create_time.desc(), api_keys.c.key_id.desc()).limit(limit))
        return [_key(row) for row in rows]


def _key(row: Any) -> ApiKey:
    columns = dict(row._mapping)
    return ApiKey(**columns | {"scopes": tuple(columns["scopes"]), "secret_hash": bytes(columns["secret_hash"])})
