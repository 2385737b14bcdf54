"""Use cases of a function's secrets, in the caller's transaction.

Secrets belong to the function, not to its revisions: an instance of any revision gets those of today, so that a
rollback never brings back a value that was replaced. A change makes a new revision all the same, since instances
have to be started anew to see it.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.errors import FailedPrecondition, NotFound
from mesh.names import SECRET, parse
from registry_svc import domain, rules
from registry_svc.context import Context
from registry_svc.domain import Function, Secret
from registry_svc.functions import roll_out


async def set_secret(
    context: Context, conn: AsyncConnection, parent: str, key: str, value: str
) -> tuple[Function, Secret]:
    """Sets a secret. Rolls out even where the value is what it was: an answer must not tell whether it is.

    InvalidArgument (SECRET_INVALID), FailedPrecondition (KEY_IS_ENV).
    """
    function = await context.function(conn, parent, field="parent")
    rules.secret(key, value)
    name = function.spec.display_name
    if key in function.spec.run.env:
        raise FailedPrecondition(
            "KEY_IS_ENV",
            f"{key} is in the env of '{name}' already: remove it there first (`fnmesh env unset {name} {key}`); "
            "a key is either env or a secret.",
        )
    secret = Secret(function.uid, key, context.clock.now())
    await context.secrets.put(conn, secret, value)
    rules.secrets_size(await context.secrets.values(conn, function.uid))
    return await _changed(context, conn, function, await context.secrets.keys(conn, function.uid)), secret


async def delete_secret(context: Context, conn: AsyncConnection, name: str) -> Function:
    """Deletes a secret. NotFound (SECRET_NOT_FOUND)."""
    workspace, reference, key = parse(SECRET, name)
    function = await context.function(conn, f"workspaces/{workspace}/functions/{reference}")
    keys = await context.secrets.keys(conn, function.uid)
    if not await context.secrets.delete(conn, function.uid, key):
        raise NotFound("SECRET_NOT_FOUND", f"'{function.spec.display_name}' has no secret {key}.", key=key)
    return await _changed(context, conn, function, keys)


async def _changed(context: Context, conn: AsyncConnection, before: Function, secret_keys: frozenset[str]) -> Function:
    """The function after a change of its secrets: with a new revision of what serves, where something does.

    The revision has what the serving one froze, without keys that are or were secrets until now: an old env value
    must not come to light when the secret over it goes.
    """
    function = before
    serving = await context.functions.revision(conn, before.uid, before.serving) if before.serving else None
    if serving is not None:
        run = domain.without_env(serving.run, secret_keys)
        function = await roll_out(context, conn, before, serving, run)
    return await context.save(conn, before, function)
