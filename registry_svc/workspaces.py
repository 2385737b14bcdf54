"""Use cases of workspaces, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.auth import Scope, current_principal, require_scope
from mesh.db import next_version
from mesh.errors import AlreadyExists, FailedPrecondition, NotFound, PermissionDenied
from mesh.ids import new_id
from mesh.names import WORKSPACE, parse
from registry_svc import rules
from registry_svc.context import Context, check_etag
from registry_svc.domain import DEFAULT_WORKSPACE, Workspace
from registry_svc.functions import delete_function
from registry_svc.key_store import KeyStore


async def create_workspace(
    context: Context, conn: AsyncConnection, display_name: str, description: str = ""
) -> Workspace:
    """Makes a workspace. AlreadyExists (NAME_TAKEN)."""
    if require_scope(Scope.DEPLOY).workspace:
        raise PermissionDenied("WORKSPACE_DENIED", "The API key is bound to a workspace; it cannot make others.")
    rules.workspace_name(display_name)
    rules.description(description)
    await _check_free(context, conn, display_name)
    now = context.clock.now()
    etag = str(await next_version(conn))
    workspace = Workspace(new_id("ws-"), display_name, description, now, now, etag)
    await context.workspaces.insert(conn, workspace)
    return workspace


async def find_or_create_workspace(context: Context, conn: AsyncConnection, name: str) -> Workspace:
    """The workspace of a resource name; one named by a display name that is not there is made."""
    (reference,) = parse(WORKSPACE, name, field="parent")
    try:
        return await context.workspace(conn, name, field="parent")
    except NotFound:
        if reference.startswith("ws-"):
            raise
    return await create_workspace(context, conn, reference)


async def list_workspaces(context: Context, conn: AsyncConnection, *, after: str, limit: int) -> list[Workspace]:
    """Workspaces that the caller may see, by name."""
    require_scope(Scope.DEPLOY)
    only = current_principal().workspace
    return await context.workspaces.page(conn, only_uid=only, after=after, limit=limit)


async def update_workspace(
    context: Context,
    conn: AsyncConnection,
    name: str,
    etag: str,
    change: Callable[[Workspace], Workspace],
) -> Workspace:
    """Changes name and description. Aborted, AlreadyExists."""
    before = await context.workspace(conn, name, field="workspace.name")
    check_etag(etag, before.etag)
    after = change(before)
    rules.workspace_name(after.display_name)
    rules.description(after.description)
    if after.display_name != before.display_name:
        await _check_free(context, conn, after.display_name)
    after = replace(after, update_time=context.clock.now(), etag=str(await next_version(conn)))
    await context.workspaces.update(conn, after)
    return after


async def delete_workspace(context: Context, conn: AsyncConnection, name: str, etag: str) -> None:
    """Deletes a workspace, its functions, and revokes its API keys."""
    workspace = await context.workspace(conn, name)
    check_etag(etag, workspace.etag)
    if workspace.uid == DEFAULT_WORKSPACE:
        raise FailedPrecondition("WORKSPACE_IS_DEFAULT", "The first workspace cannot be deleted.")
    page = await context.functions.page(conn, workspace_uid=workspace.uid, after=("", ""), limit=10**9)
    for function in page:
        await delete_function(context, conn, function)
    await KeyStore().revoke_of_workspace(conn, workspace.uid, context.clock.now())
    await context.workspaces.delete(conn, workspace.uid)


async def _check_free(context: Context, conn: AsyncConnection, display_name: str) -> None:
    if await context.workspaces.find(conn, display_name) is not None:
        raise AlreadyExists("NAME_TAKEN", f"There is a workspace '{display_name}' already; choose another name.")
