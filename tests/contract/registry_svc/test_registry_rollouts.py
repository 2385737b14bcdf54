"""Which revision should serve: builds, changes of settings, deploys, rollbacks, stops."""

from __future__ import annotations

from typing import Any

import pytest

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.registry.v1 import function_pb2, revision_pb2
from fnmesh.registry.v1 import registry_service_pb2 as pb
from mesh.errors import FailedPrecondition, NotFound

HELLO = "workspaces/default/functions/hello"


async def deploy(registry: Any, revision: str = "") -> Any:
    return await registry.public.DeployFunction(pb.DeployFunctionRequest(name=HELLO, revision=revision))


async def rollback(registry: Any, number: int = 0) -> Any:
    return await registry.public.RollbackFunction(pb.RollbackFunctionRequest(name=HELLO, revision_number=number))


async def numbers(registry: Any) -> list[int]:
    answer = await registry.public.ListRevisions(pb.ListRevisionsRequest(parent=HELLO))
    return [one.number for one in answer.revisions]


async def test_a_build_freezes_env_and_serves_once_it_is_done(registry: Any) -> None:
    await registry.create(env={"A": "1"})
    revision = await registry.begin(HELLO, "b1")
    assert (revision.number, revision.state) == (1, revision_pb2.REVISION_STATE_PENDING)
    assert await registry.begin(HELLO, "b1") == revision
    assert revision.build.endswith("/builds/b1") and list(revision.env_keys) == ["A"]
    assert (await registry.get(HELLO)).runtime == function_pb2.RUNTIME_PYTHON
    with pytest.raises(FailedPrecondition):
        await deploy(registry)
    for _ in range(2):
        built = await registry.finish(revision)
        assert built.state == revision_pb2.REVISION_STATE_BUILT
    assert await registry.serving(HELLO) == (1, {"A": "1"})
    function = await registry.get(HELLO)
    assert function.running
    assert function.deployment_state == function_pb2.DEPLOYMENT_STATE_PENDING
    assert built.target == function_pb2.TARGET_PROCESS


async def test_a_failed_build_changes_nothing_that_serves(registry: Any) -> None:
    await registry.create()
    await registry.build(HELLO, "b1")
    failed = await registry.begin(HELLO, "b2")
    report = internal_pb.ReportBuildRequest(revision=failed.name, error="pip said no")
    for _ in range(2):
        answer = await registry.internal.ReportBuild(report)
        assert answer.revision.state == revision_pb2.REVISION_STATE_FAILED
        assert answer.revision.error == "pip said no"
    assert (await registry.serving(HELLO))[0] == 1
    with pytest.raises(FailedPrecondition) as refused:
        await deploy(registry, f"{HELLO}/revisions/2")
    assert refused.value.reason == "NOT_BUILT"
    with pytest.raises(NotFound):
        await deploy(registry, f"{HELLO}/revisions/9")


async def test_a_change_of_env_is_a_revision_of_the_same_artifact(registry: Any) -> None:
    function = await registry.create(env={"A": "1"})
    await registry.build(HELLO, "b1")
    await registry.update(HELLO, "env.A", env={"A": "2"})
    assert await registry.serving(HELLO) == (2, {"A": "2"})
    one, two = [(await registry.workload(function.uid, number)).revision for number in (1, 2)]
    assert one.artifact == two.artifact and two.build == ""
    await registry.update(HELLO, "env.A", env={"A": "2"})
    await registry.update(HELLO, "path", "methods", "access", path="new", access=2)
    assert await numbers(registry) == [2, 1]
    await registry.update(HELLO, "env.A", defer=True, env={"A": "3"})
    assert await registry.serving(HELLO) == (2, {"A": "2"})
    await registry.build(HELLO, "b2", "b")
    assert await registry.serving(HELLO) == (3, {"A": "3"})


async def test_rollback_brings_back_code_and_env_and_twice_goes_further(registry: Any) -> None:
    await registry.create(env={"A": "1"})
    with pytest.raises(FailedPrecondition) as refused:
        await rollback(registry)
    assert refused.value.reason == "NO_EARLIER_REVISION"
    await registry.build(HELLO, "b1")
    await registry.update(HELLO, "env.A", env={"A": "2"})
    await registry.build(HELLO, "b2", "b")
    await registry.update(HELLO, "env.A", env={"A": "4"})
    assert await registry.serving(HELLO) == (4, {"A": "4"})
    after = await rollback(registry)
    assert await registry.serving(HELLO) == (3, {"A": "2"})
    assert after.env == {"A": "****"} and (await registry.get(HELLO)).env == {"A": "2"}
    await rollback(registry)
    assert await registry.serving(HELLO) == (2, {"A": "2"})
    await rollback(registry)
    assert await registry.serving(HELLO) == (1, {"A": "1"})
    with pytest.raises(FailedPrecondition):
        await rollback(registry)
    await rollback(registry, 4)
    assert await registry.serving(HELLO) == (4, {"A": "4"})
    await rollback(registry)
    assert await registry.serving(HELLO) == (1, {"A": "1"})


async def test_builds_that_end_out_of_order_leave_the_newer_code(registry: Any) -> None:
    await registry.create()
    old, new = [await registry.begin(HELLO, build) for build in ("b1", "b2")]
    await registry.finish(new, "b")
    await registry.finish(old, "a")
    assert (await registry.serving(HELLO))[0] == 2


async def test_a_change_of_env_during_a_build_is_not_lost(registry: Any) -> None:
    function = await registry.create(env={"A": "1"})
    await registry.build(HELLO, "b1", "a")
    slow = await registry.begin(HELLO, "b2")
    await registry.update(HELLO, "env.A", env={"A": "2"})
    assert (await registry.serving(HELLO))[0] == 3
    await registry.finish(slow, "b")
    number, env = await registry.serving(HELLO)
    assert (number, env) == (4, {"A": "2"})
    workload = await registry.workload(function.uid, number)
    assert workload.revision.artifact.digest.endswith("b")


async def test_a_change_of_env_during_the_first_build_is_not_lost(registry: Any) -> None:
    await registry.create(env={"A": "1"})
    slow = await registry.begin(HELLO, "b1")
    await registry.update(HELLO, "env.A", env={"A": "2"})
    await registry.finish(slow)
    assert await registry.serving(HELLO) == (2, {"A": "2"})


async def test_somebodys_decision_stands_against_builds_begun_before(registry: Any) -> None:
    await registry.create()
    await registry.build(HELLO, "b1")
    slow = await registry.begin(HELLO, "b2")
    stopped = await registry.public.StopFunction(pb.StopFunctionRequest(name=HELLO))
    assert not stopped.running
    await registry.finish(slow, "b")
    assert not (await registry.get(HELLO)).running
    again = await deploy(registry)
    assert again.running and again.serving_revision.endswith("/2")


async def test_env_set_while_stopped_waits_for_the_next_deploy(registry: Any) -> None:
    await registry.create(env={"A": "1"})
    await registry.build(HELLO, "b1")
    await registry.public.StopFunction(pb.StopFunctionRequest(name=HELLO))
    after = await registry.update(HELLO, "env.A", env={"A": "2"})
    assert not after.running
    assert (await deploy(registry)).running
    assert await registry.serving(HELLO) == (2, {"A": "2"})


async def test_reports_of_deployments(registry: Any) -> None:
    function = await registry.create()
    await registry.build(HELLO, "b1")

    async def report(version: int, number: int, state: int, message: str = "") -> Any:
        await registry.internal.ReportDeployment(
            internal_pb.ReportDeploymentRequest(
                function_uid=function.uid,
                version=version,
                report_version=number,
                state=state,  # type: ignore[arg-type]
                message=message,
            )
        )
        return await registry.get(HELLO)

    resolve = internal_pb.ResolveFunctionRequest(name=HELLO)
    before = await registry.internal.ResolveFunction(resolve)
    assert before.serving_revision_number == 1 and before.serving_limits.concurrency == 10
    assert (await report(before.version, 2, 3)).deployment_state == 3
    seen = await registry.get(HELLO)
    assert (await report(before.version, 1, 5)).deployment_state == 3
    assert seen.etag == before.function.etag
    after = await registry.internal.ResolveFunction(resolve)
    assert after.version > before.version
    await report(before.version, 3, 3)
    assert (await registry.internal.ResolveFunction(resolve)).version == after.version
    await registry.build(HELLO, "b2", "b")
    assert (await report(before.version, 4, 5, "no")).deployment_message == "no"


async def test_late_reports_about_a_deleted_function_are_harmless(registry: Any) -> None:
    function = await registry.create()
    await registry.build(HELLO, "b1", "a")
    late = await registry.begin(HELLO, "b2")
    live = internal_pb.ListLiveArtifactsRequest()
    assert len((await registry.internal.ListLiveArtifacts(live)).digests) == 1
    await registry.public.DeleteFunction(pb.DeleteFunctionRequest(name=HELLO))
    await registry.finish(late)
    await registry.internal.ReportDeployment(
        internal_pb.ReportDeploymentRequest(function_uid=function.uid, version=99, report_version=9, state=3)
    )
    for _ in range(2):
        await registry.internal.ReportDeleted(internal_pb.ReportDeletedRequest(function_uid=function.uid))
    await registry.internal.ReportDeleted(internal_pb.ReportDeletedRequest(function_uid="fn-none"))
    assert not (await registry.internal.ListLiveArtifacts(live)).digests
    with pytest.raises(NotFound):
        await registry.workload(function.uid, 1)
