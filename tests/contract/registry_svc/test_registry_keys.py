"""API keys, scopes, and workspaces that a key is bound to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.registry.v1 import api_key_pb2
from fnmesh.registry.v1 import registry_service_pb2 as pb
from mesh.clock import FakeClock
from mesh.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from registry_svc.bootstrap import create_admin_key
from registry_svc.settings import RegistrySettings
from tests.support.eventually import eventually

ADMIN, DEPLOY, INVOKE = (api_key_pb2.SCOPE_ADMIN, api_key_pb2.SCOPE_DEPLOY, api_key_pb2.SCOPE_INVOKE)


def bearer(secret: str) -> Any:
    return (("authorization", f"Bearer {secret}"),)


@pytest.fixture
async def guarded(settings: RegistrySettings, clock: FakeClock, connect_registry: Any) -> AsyncIterator[Any]:
    """A registry that asks for keys; `metadata` has the first admin key."""
    settings = settings.model_copy(update={"auth": "keys"})
    secret = await create_admin_key(settings)
    async with AsyncExitStack() as stack:
        registry = await connect_registry(stack, settings, clock)
        registry.metadata = bearer(secret)
        yield registry


async def new_key(registry: Any, *scopes: int, workspace: str = "", **fields: Any) -> Any:
    key = api_key_pb2.ApiKey(display_name="k", scopes=scopes, workspace=workspace, **fields)  # type: ignore[arg-type]
    return await registry.public.CreateApiKey(pb.CreateApiKeyRequest(api_key=key), metadata=registry.metadata)


async def test_without_a_key_nothing_is_answered(guarded: Any) -> None:
    for metadata in ((), bearer("fnm_" + "a" * 40), bearer("nonsense")):
        with pytest.raises(Unauthenticated):
            await guarded.public.ListWorkspaces(pb.ListWorkspacesRequest(), metadata=metadata)
    await guarded.create()


async def test_a_key_is_shown_once_listed_and_revoked(guarded: Any) -> None:
    made = await new_key(guarded, DEPLOY, INVOKE)
    assert made.secret.startswith("fnm_") and len(made.secret) == 44
    metadata = bearer(made.secret)
    await guarded.public.ListWorkspaces(pb.ListWorkspacesRequest(), metadata=metadata)
    answer = await guarded.internal.VerifyApiKey(internal_pb.VerifyApiKeyRequest(secret=made.secret))
    assert (list(answer.scopes), answer.workspace) == ([DEPLOY, INVOKE], "")
    wrong = made.secret[:-1] + ("a" if made.secret[-1] != "a" else "b")
    with pytest.raises(Unauthenticated):
        await guarded.internal.VerifyApiKey(internal_pb.VerifyApiKeyRequest(secret=wrong))
    revoke = pb.RevokeApiKeyRequest(name=made.api_key.name)
    first = await guarded.public.RevokeApiKey(revoke, metadata=guarded.metadata)
    assert first.HasField("revoke_time")
    assert await guarded.public.RevokeApiKey(revoke, metadata=guarded.metadata) == first
    guarded.clock.advance(10)

    async def refused() -> bool:
        try:
            await guarded.public.ListWorkspaces(pb.ListWorkspacesRequest(), metadata=metadata)
        except Unauthenticated:
            return True
        return False

    await eventually(refused)
    first_page = await guarded.public.ListApiKeys(pb.ListApiKeysRequest(page_size=1), metadata=guarded.metadata)
    second_page = await guarded.public.ListApiKeys(
        pb.ListApiKeysRequest(page_token=first_page.next_page_token), metadata=guarded.metadata
    )
    listed = [*first_page.api_keys, *second_page.api_keys]
    assert {one.display_name for one in listed} == {"k", "admin"} and len(listed) == 2


async def test_keys_expire(guarded: Any) -> None:
    key = await new_key(guarded, DEPLOY, expire_time=guarded.clock.now() + timedelta(seconds=60))
    verify = internal_pb.VerifyApiKeyRequest(secret=key.secret)
    await guarded.internal.VerifyApiKey(verify)
    guarded.clock.advance(61)
    with pytest.raises(Unauthenticated):
        await guarded.internal.VerifyApiKey(verify)
    with pytest.raises(InvalidArgument):
        await new_key(guarded, DEPLOY, expire_time=guarded.clock.now())
    with pytest.raises(InvalidArgument):
        await new_key(guarded)


async def test_scopes(guarded: Any) -> None:
    function = await guarded.create(env={"A": "1"})
    deploy = bearer((await new_key(guarded, DEPLOY)).secret)
    invoke = bearer((await new_key(guarded, INVOKE)).secret)
    get = pb.GetFunctionRequest(name=function.name)
    assert (await guarded.public.GetFunction(get, metadata=deploy)).env == {"A": "****"}
    with pytest.raises(PermissionDenied):
        await guarded.public.GetFunction(get, metadata=invoke)
    for metadata in (deploy, invoke):
        with pytest.raises(PermissionDenied):
            await guarded.public.ListApiKeys(pb.ListApiKeysRequest(), metadata=metadata)
    get.reveal_env = True
    with pytest.raises(PermissionDenied):
        await guarded.public.GetFunction(get, metadata=deploy)
    assert (await guarded.public.GetFunction(get, metadata=guarded.metadata)).env == {"A": "1"}


async def test_a_bound_key_sees_its_workspace_only(guarded: Any) -> None:
    other = await guarded.create("other")
    mine = await guarded.create("mine", workspace="team")
    key = await new_key(guarded, DEPLOY, ADMIN, workspace="workspaces/team")
    assert key.api_key.workspace == mine.name.partition("/functions")[0]
    bound = bearer(key.secret)
    answer = await guarded.internal.VerifyApiKey(internal_pb.VerifyApiKeyRequest(secret=key.secret))
    assert answer.workspace == key.api_key.workspace
    listed = await guarded.public.ListFunctions(pb.ListFunctionsRequest(parent="workspaces/-"), metadata=bound)
    assert [one.uid for one in listed.functions] == [mine.uid]
    anywhere = f"workspaces/-/functions/{mine.uid}"
    assert (await guarded.public.GetFunction(pb.GetFunctionRequest(name=anywhere), metadata=bound)).name == mine.name
    for hidden in (other.uid, "mine"):
        with pytest.raises(NotFound):
            await guarded.public.GetFunction(
                pb.GetFunctionRequest(name=f"workspaces/-/functions/{hidden}"), metadata=bound
            )
    spaces = await guarded.public.ListWorkspaces(pb.ListWorkspacesRequest(), metadata=bound)
    assert [one.display_name for one in spaces.workspaces] == ["team"]
    with pytest.raises(PermissionDenied):
        await guarded.public.GetFunction(pb.GetFunctionRequest(name=other.name), metadata=bound)
    with pytest.raises(NotFound):
        await guarded.public.GetFunction(
            pb.GetFunctionRequest(name=f"workspaces/team/functions/{other.uid}"), metadata=bound
        )
    guarded.metadata = bound
    with pytest.raises(PermissionDenied):
        await guarded.create("x", workspace="new-one")
    with pytest.raises(PermissionDenied):
        await new_key(guarded, ADMIN)
    await new_key(guarded, DEPLOY, workspace="workspaces/team")
    keys = await guarded.public.ListApiKeys(pb.ListApiKeysRequest(), metadata=bound)
    assert len(keys.api_keys) == 2
    await guarded.public.DeleteWorkspace(pb.DeleteWorkspaceRequest(name="workspaces/team"), metadata=bound)
    with pytest.raises(Unauthenticated):
        await guarded.internal.VerifyApiKey(internal_pb.VerifyApiKeyRequest(secret=key.secret))


async def test_the_internal_service_takes_no_api_key(guarded: Any) -> None:
    from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as internal_grpc
    from mesh.rpc_client import open_channel

    async with open_channel(guarded.settings.own_address) as channel:
        stub = internal_grpc.RegistryInternalServiceStub(channel)
        for metadata in ((), guarded.metadata):
            with pytest.raises(Unauthenticated):
                await stub.ListLiveArtifacts(internal_pb.ListLiveArtifactsRequest(), metadata=metadata)
