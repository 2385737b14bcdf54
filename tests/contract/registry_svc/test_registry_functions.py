"""Functions and workspaces through the public service."""

from __future__ import annotations

from typing import Any

import pytest

from fnmesh.registry.v1 import function_pb2, workspace_pb2
from fnmesh.registry.v1 import registry_service_pb2 as pb
from mesh.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

HELLO = "workspaces/default/functions/hello"


async def test_a_function_gets_its_defaults(registry: Any) -> None:
    made = await registry.create(env={"A": "secret"})
    assert made.name == f"workspaces/ws-default/functions/{made.uid}"
    assert (made.path, made.handler, list(made.methods)) == ("hello", "handler", [])
    assert made.env == {"A": "****"}
    limits = made.limits
    assert (limits.memory_bytes, limits.cpu_millis) == (256 * 1024 * 1024, 1000)
    assert (limits.timeout.seconds, limits.concurrency) == (30, 10)
    assert (made.scaling.min_instances, made.scaling.max_instances) == (1, 1)
    assert made.access == function_pb2.ACCESS_PUBLIC
    assert made.event_format == function_pb2.EVENT_FORMAT_HTTP_V2
    assert not made.serving_revision and not made.running
    for name in (HELLO, made.name, f"workspaces/default/functions/{made.uid}"):
        assert await registry.get(name, reveal=False) == made
    assert (await registry.get(HELLO)).env == {"A": "secret"}


async def test_names_and_paths_are_taken_once(registry: Any) -> None:
    await registry.create("hello", path="/a/b", methods=["get"])
    for reason, fields in {
        "NAME_TAKEN": {"name": "hello", "path": "x"},
        "PATH_TAKEN": {"name": "other", "path": "a/b/", "methods": ["GET", "PUT"]},
    }.items():
        with pytest.raises(AlreadyExists) as taken:
            await registry.create(**fields)
        assert taken.value.reason == reason
    with pytest.raises(AlreadyExists):
        await registry.create("all", path="a/b")
    other = await registry.create("other", path="a/b", methods=["POST"])
    with pytest.raises(AlreadyExists):
        await registry.update(other.name, "methods")
    await registry.create("hello", workspace="second", path="elsewhere")
    workspaces = await registry.public.ListWorkspaces(pb.ListWorkspacesRequest())
    assert [one.display_name for one in workspaces.workspaces] == ["default", "second"]


async def test_a_deleted_function_frees_name_and_path(registry: Any) -> None:
    made = await registry.create(path="p")
    with pytest.raises(Aborted):
        await registry.public.DeleteFunction(pb.DeleteFunctionRequest(name=HELLO, etag="old"))
    await registry.public.DeleteFunction(pb.DeleteFunctionRequest(name=HELLO, etag=made.etag))
    for name in (HELLO, made.name):
        with pytest.raises(NotFound):
            await registry.get(name)
    assert (await registry.create(path="p")).uid != made.uid


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("PATH_RESERVED", {"path": "v1/x"}),
        ("PATH_INVALID", {"path": "a//b"}),
        ("ENV_INVALID", {"env": {"1A": "x"}}),
        ("ENV_INVALID", {"env": {"A": "****"}}),
        ("ENV_INVALID", {"env": {"A": "x" * 70000}}),
        ("METHOD_INVALID", {"methods": ["G T"]}),
        ("LIMITS_INVALID", {"limits": function_pb2.Limits(memory_bytes=1)}),
        ("SCALING_INVALID", {"scaling": function_pb2.Scaling(min_instances=5, max_instances=2)}),
        ("ENUM_INVALID", {"runtime": 77}),
        ("HANDLER_INVALID", {"handler": "a b"}),
        ("NAME_INVALID", {"name": "Nein"}),
    ],
)
async def test_what_is_wrong_is_refused_with_its_reason(registry: Any, reason: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await registry.create(**fields)
    assert refused.value.reason == reason
    assert refused.value.fields


async def test_update_masks(registry: Any) -> None:
    await registry.create(env={"A": "1", "B": "2"}, description="d")
    await registry.update(HELLO, "env.A", "env.B", "env.C", env={"A": "9", "C": "3"})
    assert (await registry.get(HELLO)).env == {"A": "9", "C": "3"}
    await registry.update(HELLO, "env", env={"A": "****", "D": "4"})
    after = await registry.get(HELLO)
    assert after.env == {"A": "9", "D": "4"} and after.description == "d"
    limits = function_pb2.Limits(memory_bytes=64 * 1024 * 1024, concurrency=3)
    await registry.update(HELLO, "limits.memory_bytes", limits=limits)
    after = await registry.get(HELLO)
    assert (after.limits.memory_bytes, after.limits.concurrency) == (64 * 1024 * 1024, 10)
    await registry.update(HELLO, "limits", limits=limits)
    assert (await registry.get(HELLO)).limits.concurrency == 3
    await registry.update(HELLO, "scaling.min_instances", scaling=function_pb2.Scaling(min_instances=0))
    assert (await registry.get(HELLO)).scaling.min_instances == 0
    for paths in ([], ["uid"], ["limits.nothing"], ["*"]):
        with pytest.raises(InvalidArgument) as refused:
            await registry.update(HELLO, *paths)
        assert refused.value.reason == "MASK_INVALID"
    with pytest.raises(Aborted):
        await registry.update(HELLO, "description", etag="1", description="x")


async def test_a_request_id_makes_a_call_repeatable(registry: Any) -> None:
    def request(name: str) -> pb.CreateFunctionRequest:
        return pb.CreateFunctionRequest(
            parent="workspaces/default",
            function=function_pb2.Function(display_name=name, env={"A": "1"}),
            request_id="r-1",
        )

    first = await registry.public.CreateFunction(request("a"))
    await registry.update(first.name, "description", description="later")
    assert await registry.public.CreateFunction(request("a")) == first
    with pytest.raises(InvalidArgument) as reused:
        await registry.public.CreateFunction(request("b"))
    assert reused.value.reason == "REQUEST_ID_REUSED"
    registry.clock.advance(24 * 3600 + 1)
    assert (await registry.public.CreateFunction(request("b"))).uid != first.uid


async def test_pages(registry: Any) -> None:
    for name in ("b", "a_x", "a-x", "c"):
        await registry.create(name)
    await registry.create("a", workspace="w2", path="w2-a")

    async def listed(parent: str) -> list[str]:
        names, token = [], ""
        while True:
            answer = await registry.public.ListFunctions(
                pb.ListFunctionsRequest(parent=parent, page_size=2, page_token=token)
            )
            names += [one.display_name for one in answer.functions]
            token = answer.next_page_token
            if not token:
                return names

    assert await listed("workspaces/default") == ["a-x", "a_x", "b", "c"]
    assert await listed("workspaces/-") == ["a", "a-x", "a_x", "b", "c"]
    with pytest.raises(InvalidArgument):
        await registry.public.ListFunctions(pb.ListFunctionsRequest(parent="workspaces/default", page_token="nonsense"))


async def test_workspaces(registry: Any) -> None:
    def request(name: str) -> pb.CreateWorkspaceRequest:
        return pb.CreateWorkspaceRequest(workspace=workspace_pb2.Workspace(display_name=name), request_id=f"r-{name}")

    made = await registry.public.CreateWorkspace(request("team"))
    assert await registry.public.CreateWorkspace(request("team")) == made
    with pytest.raises(AlreadyExists):
        await registry.public.CreateWorkspace(
            pb.CreateWorkspaceRequest(workspace=workspace_pb2.Workspace(display_name="team"))
        )
    update = pb.UpdateWorkspaceRequest(
        workspace=workspace_pb2.Workspace(name="workspaces/team", display_name="crew", etag=made.etag)
    )
    renamed = await registry.public.UpdateWorkspace(update)
    assert (renamed.uid, renamed.display_name) == (made.uid, "crew")
    update.workspace.name = "workspaces/crew"
    with pytest.raises(Aborted):
        await registry.public.UpdateWorkspace(update)
    function = await registry.create("x", workspace="crew")
    await registry.public.DeleteWorkspace(pb.DeleteWorkspaceRequest(name="workspaces/crew"))
    with pytest.raises(NotFound):
        await registry.public.GetWorkspace(pb.GetWorkspaceRequest(name=made.name))
    with pytest.raises(NotFound):
        await registry.get(function.name)
    await registry.create("x")
    with pytest.raises(FailedPrecondition):
        await registry.public.DeleteWorkspace(pb.DeleteWorkspaceRequest(name="workspaces/default"))


async def test_env_is_not_readable_in_the_database(registry: Any) -> None:
    await registry.create(env={"A": "very-secret-value"})
    await registry.build(HELLO, "b1")
    if registry.settings.database_url.startswith("sqlite"):
        path = registry.settings.database_url.partition("///")[2]
        import pathlib

        stored = b"".join(one.read_bytes() for one in pathlib.Path(path).parent.glob("test.db*"))
        assert b"very-secret-value" not in stored
    key = registry.settings.registry_secrets_key_file
    assert key.stat().st_mode & 0o777 == 0o600
