"""Use cases of functions, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.auth import Scope, current_principal, require_scope
from mesh.errors import AlreadyExists, FailedPrecondition
from mesh.ids import new_id
from registry_svc import domain, rules
from registry_svc.context import Context, check_etag
from registry_svc.domain import Function, Revision, RunSettings, Spec, Workspace


async def create_function(
    context: Context,
    conn: AsyncConnection,
    workspace: Workspace,
    spec: Spec,
    *,
    source_digest: str = "",
    number: int = 0,
) -> Function:
    """Makes a function. AlreadyExists (NAME_TAKEN, PATH_TAKEN, NUMBER_TAKEN), InvalidArgument (NUMBER_INVALID,
    INVOCATION_URL_NOT_ALLOWED).
    """
    _check_url(context, spec)
    now = context.clock.now()
    function = Function(new_id("fn-"), workspace.uid, spec, now, now, source_digest=source_digest)
    await _check_name(context, conn, function)
    await _check_path(context, conn, function)
    if workspace.uid == domain.DEFAULT_WORKSPACE:
        if number:
            await _check_number(context, conn, number)
        number = number or await context.functions.take_number(conn, workspace.uid)
        function = replace(function, number=number)
    elif number:
        rules.refuse("NUMBER_INVALID", "number", "Only functions of the default workspace have numbers.")
    return await context.functions.save(conn, function, now=now, new=True)


async def list_functions(
    context: Context, conn: AsyncConnection, parent: str, *, after: tuple[str, str], limit: int, number: int = 0
) -> list[Function]:
    """Functions of a workspace, or (`workspaces/-`) of all that the caller may see, by name."""
    if parent == "workspaces/-":
        require_scope(Scope.DEPLOY)
        uid = current_principal().workspace or None
    else:
        uid = (await context.workspace(conn, parent, field="parent")).uid
    return await context.functions.page(conn, workspace_uid=uid, after=after, limit=limit, number=number)


async def update_function(
    context: Context,
    conn: AsyncConnection,
    name: str,
    etag: str,
    change: Callable[[Function], tuple[Spec, str]],
    *,
    defer_rollout: bool,
) -> Function:
    """Changes settings and source; rolls out a new revision of the same artifact where its run settings changed.

    FailedPrecondition (KEY_IS_SECRET), and what create_function raises.
    """
    before = await context.function(conn, name, field="function.name")
    check_etag(etag, before.etag)
    spec, source_digest = change(before)
    if (spec, source_digest) == (before.spec, before.source_digest):
        return before
    function = replace(domain.with_spec(before, spec, defer=defer_rollout), source_digest=source_digest)
    if spec.display_name != before.spec.display_name:
        await _check_name(context, conn, function)
    if (spec.path, spec.methods) != (before.spec.path, before.spec.methods):
        await _check_path(context, conn, function)
    if spec.invocation_url != before.spec.invocation_url:
        _check_url(context, spec)
    await _check_env_keys(context, conn, function)
    if spec.run != before.spec.run and before.serving and not defer_rollout:
        serving = await context.functions.revision(conn, function.uid, function.serving)
        if serving is not None:
            function = await roll_out(context, conn, function, serving, spec.run)
    return await context.save(conn, before, function)


async def delete_function(context: Context, conn: AsyncConnection, function: Function) -> None:
    """Deletes a function: its name and path are free at once; a tombstone stays for the watchers."""
    await context.save(conn, function, domain.delete(function, context.clock.now()))
    await context.functions.drop_revisions(conn, function.uid)
    await context.secrets.drop(conn, function.uid)


async def roll_out(
    context: Context, conn: AsyncConnection, function: Function, serving: Revision, run: RunSettings
) -> Function:
    """The function with a new revision of what serves, under these settings."""
    revision = domain.next_revision(function, serving, run, context.clock.now())
    await context.functions.insert_revision(conn, revision)
    return domain.adopt(replace(function, latest_number=revision.number), revision.number)


def _check_url(context: Context, spec: Spec) -> None:
    """A function must not become a way into the network that the mesh is in."""
    if spec.invocation_url and not context.invocation_urls.allow(spec.invocation_url):
        rules.refuse(
            "INVOCATION_URL_NOT_ALLOWED",
            "invocation_url",
            "invocation_url may only be a URL that the mesh's operator allows (FNMESH_INVOCATION_URL_ALLOW).",
        )


async def _check_env_keys(context: Context, conn: AsyncConnection, function: Function) -> None:
    both = sorted(set(function.spec.run.env) & await context.secrets.keys(conn, function.uid))
    if both:
        name, key = function.spec.display_name, both[0]
        raise FailedPrecondition(
            "KEY_IS_SECRET",
            f"{key} is a secret of '{name}' already: delete that first (`fnmesh secret delete {name} {key}`); "
            "a key is either env or a secret.",
        )


async def _check_name(context: Context, conn: AsyncConnection, function: Function) -> None:
    name = function.spec.display_name
    other = await context.functions.find(conn, name, function.workspace_uid)
    if other is not None and other.uid != function.uid:
        raise AlreadyExists(
            "NAME_TAKEN", f"There is a function '{name}' in this workspace already; choose another name."
        )


async def _check_number(context: Context, conn: AsyncConnection, number: int) -> None:
    if number not in domain.EXAMPLE_NUMBERS:
        shown = " and ".join(str(one) for one in sorted(domain.EXAMPLE_NUMBERS))
        rules.refuse("NUMBER_INVALID", "number", f"Only the numbers {shown} may be asked for.")
    taken = await context.functions.page(
        conn, workspace_uid=domain.DEFAULT_WORKSPACE, after=("", ""), limit=1, number=number
    )
    if taken:
        raise AlreadyExists("NUMBER_TAKEN", f"Function '{taken[0].spec.display_name}' has the number {number}.")


async def _check_path(context: Context, conn: AsyncConnection, function: Function) -> None:
    for other in await context.functions.at_path(conn, function.spec.path):
        if other.uid == function.uid:
            continue
        if domain.methods_overlap(other.spec.methods, function.spec.methods):
            shown = f"'{other.spec.display_name}'"
            principal = current_principal()
            if principal.workspace and principal.workspace != other.workspace_uid:
                shown = "a function of another workspace"
            raise AlreadyExists(
                "PATH_TAKEN",
                f"The path '{function.spec.path}' is taken by {shown}: choose another path or other methods.",
            )
