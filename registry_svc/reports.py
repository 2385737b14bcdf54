"""Use cases of what deploy_svc reports, and what it needs to run an instance."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.errors import FailedPrecondition, NotFound
from registry_svc.context import Context
from registry_svc.domain import DeploymentState, Function, Revision, RevisionState, without_env

MESSAGE_CHARACTERS = 2000


async def report_deployment(
    context: Context,
    conn: AsyncConnection,
    function_uid: str,
    *,
    report_version: int,
    state: DeploymentState,
    message: str,
) -> bool:
    """Takes over what there is of a deployment; whether it was news.

    Ignored: a report that is older than the last, one about a function that is gone, and UNSPECIFIED. One
    that answers an older version of the function counts: deploy_svc says each thing once.
    """
    function = await context.functions.find(conn, function_uid)
    if function is None or state is DeploymentState.UNSPECIFIED:
        return False
    if report_version <= function.report_version:
        return False
    after = replace(
        function,
        deployment_state=state,
        deployment_message=message[:MESSAGE_CHARACTERS],
        report_version=report_version,
    )
    now = context.clock.now()
    if replace(after, report_version=function.report_version) == function:
        await context.functions.note_report(conn, function_uid, report_version)
        return False
    await context.functions.save(conn, after, now=now, edited=False)
    return True


async def workload(
    context: Context, conn: AsyncConnection, function_uid: str, number: int
) -> tuple[Function, Revision, dict[str, str]]:
    """A built revision with its env, and the function's secrets. NotFound, FailedPrecondition (NOT_BUILT).

    A key that is in both, since the revision is older than the secret, is the secret's.
    """
    function = await context.functions.find(conn, function_uid)
    if function is None:
        raise NotFound("FUNCTION_NOT_FOUND", f"There is no function '{function_uid}'.", function=function_uid)
    revision = await context.revision(conn, function, str(number))
    if revision.state is not RevisionState.BUILT or revision.artifact is None:
        raise FailedPrecondition("NOT_BUILT", f"Revision {number} has no artifact.")
    secrets = await context.secrets.values(conn, function.uid)
    return function, replace(revision, run=without_env(revision.run, secrets)), secrets
