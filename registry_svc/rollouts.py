"""Use cases that decide which revision should serve, in the caller's transaction."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.errors import FailedPrecondition, NotFound
from mesh.names import REVISION, parse
from registry_svc import domain
from registry_svc.context import Context
from registry_svc.domain import Artifact, Function, Revision, RevisionState, Rollout, Runtime, Target


async def deploy_function(context: Context, conn: AsyncConnection, name: str, revision_name: str) -> Function:
    """Makes a built revision serve: the named one, or the newest. FailedPrecondition (NOT_BUILT)."""
    function = await context.function(conn, name)
    if revision_name:
        revision: Revision | None = await _named_revision(context, conn, function, revision_name)
    else:
        revision = await context.functions.newest_built(conn, function.uid)
    if revision is None:
        raise _not_built(f"Nothing was built of function '{function.spec.display_name}' yet; build it first.")
    _check_built(revision)
    return await _decide(context, conn, function, domain.serve(function, revision.number))


async def rollback_function(context: Context, conn: AsyncConnection, name: str, number: int) -> Function:
    """Brings back a revision: the named one, or the one that served before (`step_back`).

    Its env comes with it; secrets stay as they are now.
    """
    function = await context.function(conn, name)
    if number:
        revision = await context.revision(conn, function, str(number))
        after: Function | None = domain.serve(function, number)
    else:
        after = domain.step_back(function)
        if after is None:
            raise FailedPrecondition(
                "NO_EARLIER_REVISION",
                f"No revision of '{function.spec.display_name}' served before this one.",
            )
        revision = await context.revision(conn, function, str(after.serving))
    _check_built(revision)
    assert after is not None
    secret_keys = await context.secrets.keys(conn, function.uid)
    return await _decide(context, conn, function, domain.restore(after, revision, secret_keys))


async def stop_function(context: Context, conn: AsyncConnection, name: str) -> Function:
    """Nothing of the function should run any more."""
    function = await context.function(conn, name)
    return await _decide(context, conn, function, domain.stop(function))


async def create_revision(
    context: Context,
    conn: AsyncConnection,
    function_name: str,
    build_uid: str,
    *,
    runtime: Runtime,
    default_target: Target,
    local_target: Target = Target.UNSPECIFIED,
    deploy: bool,
    source_digest: str = "",
) -> tuple[Function, Revision]:
    """A PENDING revision with the function's settings as they are; the same one for the same build.

    One that is not run on the cluster gets the `local_target` instead, if there is one.
    """
    function = await context.function(conn, function_name, field="function")
    known = await context.functions.revision_of_build(conn, function.uid, build_uid)
    if known is not None:
        return function, known
    number = function.latest_number + 1
    target = function.spec.target or default_target
    if target is Target.KUBERNETES:
        target = local_target or target
    spec = replace(function.spec, runtime=function.spec.runtime or runtime)
    revision = Revision(
        function_uid=function.uid,
        number=number,
        state=RevisionState.PENDING,
        run=spec.run,
        code_number=number,
        create_time=context.clock.now(),
        runtime=runtime or spec.runtime,
        target=target,
        build_uid=build_uid,
        deploy=deploy,
    )
    await context.functions.insert_revision(conn, revision)
    source_digest = source_digest or function.source_digest
    function = replace(function, spec=spec, latest_number=number, source_digest=source_digest)
    function = await context.functions.save(conn, function, now=context.clock.now(), edited=False)
    return function, revision


async def report_build(
    context: Context, conn: AsyncConnection, revision_name: str, artifact: Artifact | None, error: str
) -> tuple[Function, Revision] | None:
    """A build ended; may be repeated. None where the function was deleted meanwhile."""
    _, function_uid, number = parse(REVISION, revision_name, field="revision")
    function = await context.functions.find(conn, function_uid)
    if function is None:
        return None
    revision = await context.revision(conn, function, number)
    if revision.state is not RevisionState.PENDING:
        return function, revision
    state = RevisionState.FAILED if artifact is None else RevisionState.BUILT
    revision = replace(revision, state=state, artifact=artifact, error=error if artifact is None else "")
    await context.functions.update_revision(conn, revision)
    if artifact is not None:
        after = await _after_build(context, conn, function, revision)
        if after != function:
            function = await context.save(conn, function, after, edited=False)
    return function, revision


async def _after_build(context: Context, conn: AsyncConnection, function: Function, revision: Revision) -> Function:
    serving = None
    if function.serving:
        serving = await context.functions.revision(conn, function.uid, function.serving)
    match domain.rollout_after_build(function, revision, serving):
        case Rollout.NONE:
            return function
        case Rollout.SERVE:
            return domain.serve(function, revision.number)
        case Rollout.MERGE:
            run = serving.run if serving else function.spec.run
            merged = domain.next_revision(function, revision, run, context.clock.now())
            await context.functions.insert_revision(conn, merged)
            return domain.serve(replace(function, latest_number=merged.number), merged.number)


async def _decide(context: Context, conn: AsyncConnection, before: Function, after: Function) -> Function:
    after = domain.settle(after)
    if after == before:
        return before
    return await context.save(conn, before, after)


async def _named_revision(context: Context, conn: AsyncConnection, function: Function, revision_name: str) -> Revision:
    workspace, reference, number = parse(REVISION, revision_name, field="revision")
    other = await context.function(conn, f"workspaces/{workspace}/functions/{reference}", field="revision")
    if other.uid != function.uid:
        raise NotFound("REVISION_NOT_FOUND", f"Revision {number} is not one of this function.")
    return await context.revision(conn, function, number)


def _check_built(revision: Revision) -> None:
    if revision.state is not RevisionState.BUILT:
        why = "its build has not ended" if revision.state is RevisionState.PENDING else "its build failed"
        raise _not_built(f"Revision {revision.number} cannot be deployed: {why}.")


def _not_built(message: str) -> FailedPrecondition:
    return FailedPrecondition("NOT_BUILT", message)
