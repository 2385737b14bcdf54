"""What all use cases of the registry share: transactions, time, looking things up, authorisation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.auth import Scope, current_principal, require_scope
from mesh.clock import Clock
from mesh.db import Database
from mesh.errors import Aborted, InvalidArgument, NotFound
from mesh.names import FUNCTION, WORKSPACE, parse
from mesh.secrets_key import EnvCipher
from mesh.telemetry import current_context, format_traceparent
from registry_svc.changes import Changes
from registry_svc.domain import Function, Revision, Workspace, decided
from registry_svc.secret_store import SecretStore
from registry_svc.store import FunctionStore, WorkspaceStore
from registry_svc.urls import UrlPatterns

MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class Context:
    """The collaborators, and the lookups every use case begins with. Lookups check the caller's scope."""

    database: Database
    cipher: EnvCipher
    clock: Clock
    changes: Changes
    workspaces: WorkspaceStore
    functions: FunctionStore = field(repr=False)
    secrets: SecretStore = field(repr=False)
    invocation_urls: UrlPatterns

    async def save(self, conn: AsyncConnection, before: Function, after: Function, *, edited: bool = True) -> Function:
        """Writes what has become of a function; returns it as it is now. `edited` by a person: it gets a new etag."""
        after = decided(before, after, format_traceparent(current_context()))
        return await self.functions.save(conn, after, now=self.clock.now(), edited=edited)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction; watchers are woken once it is committed."""
        async with self.database.write() as conn:
            yield conn
        self.changes.notify()

    async def workspace(self, conn: AsyncConnection, name: str, *, field: str = "name") -> Workspace:
        """The workspace of a resource name, which the caller may work in."""
        (reference,) = parse(WORKSPACE, name, field=field)
        return await self._workspace(conn, reference)

    async def function(
        self, conn: AsyncConnection, name: str, *, field: str = "name", scope: Scope = Scope.DEPLOY
    ) -> Function:
        """The function of a resource name, which the caller may work on (or what else `scope` says)."""
        workspace_reference, reference = parse(FUNCTION, name, field=field)
        if workspace_reference == "-":
            return await self._anywhere(conn, reference, scope)
        workspace = await self._workspace(conn, workspace_reference, scope)
        function = await self.functions.find(conn, reference, workspace.uid)
        if function is None:
            raise NotFound(
                "FUNCTION_NOT_FOUND",
                f"There is no function '{reference}' in workspace '{workspace.display_name}'.",
                function=reference,
            )
        return function

    async def revision(self, conn: AsyncConnection, function: Function, reference: str) -> Revision:
        """A revision of a function by its number."""
        number = int(reference) if reference.isascii() and reference.isdecimal() and len(reference) < 10 else 0
        revision = await self.functions.revision(conn, function.uid, number) if number else None
        if revision is None:
            raise NotFound(
                "REVISION_NOT_FOUND",
                f"Function '{function.spec.display_name}' has no revision {reference}.",
                revision=reference,
            )
        return revision

    async def _anywhere(self, conn: AsyncConnection, reference: str, scope: Scope) -> Function:
        """The function with an identifier, in any workspace that the caller may see."""
        require_scope(scope)
        function = await self.functions.find(conn, reference) if reference.startswith("fn-") else None
        own = current_principal().workspace
        if function is None or (own and own != function.workspace_uid):
            message = f"There is no function with the identifier '{reference}'."
            raise NotFound("FUNCTION_NOT_FOUND", message, function=reference)
        return function

    async def _workspace(self, conn: AsyncConnection, reference: str, scope: Scope = Scope.DEPLOY) -> Workspace:
        require_scope(scope)
        workspace = await self.workspaces.find(conn, reference)
        if workspace is None:
            raise NotFound("WORKSPACE_NOT_FOUND", f"There is no workspace '{reference}'.", workspace=reference)
        require_scope(scope, workspace.uid)
        return workspace


def check_etag(given: str, current: str) -> None:
    """Raises Aborted where somebody else changed the thing since it was read."""
    if given and given != current:
        raise Aborted("ETAG_MISMATCH", "It was changed since you read it: read it again and repeat the change.")


def check_mask(paths: list[str], allowed: frozenset[str]) -> None:
    """Raises InvalidArgument where the mask names a field that cannot be changed."""
    for path in paths:
        if path not in allowed:
            message = f"'{path[:80]}' is not a field that can be changed."
            raise InvalidArgument("MASK_INVALID", message, fields={"update_mask": message})
