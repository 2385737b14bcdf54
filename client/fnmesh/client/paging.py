"""Lists, page after page."""

from __future__ import annotations

from typing import Any

from fnmesh.client.connection import Connection


async def collect(connection: Connection, method: Any, request: Any, field: str, limit: int = 100_000) -> list[Any]:
    """All items in `field` of the pages of a List RPC, at most `limit`."""
    items: list[Any] = []
    while True:
        page = await connection.call(method, request)
        items.extend(getattr(page, field))
        if not page.next_page_token or len(items) >= limit:
            return items[:limit]
        request.page_token = page.next_page_token
