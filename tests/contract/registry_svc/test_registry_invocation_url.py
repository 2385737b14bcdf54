"""Where functions may be invoked outside the mesh."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from mesh.errors import InvalidArgument
from tests.support.errors_page import answers

HELLO = "workspaces/default/functions/hello"
NOT_ALLOWED = "an `invocationUrl` outside the mesh that nobody has allowed"


async def test_only_where_the_operator_allows_it(connect_registry: Any, settings: Any, clock: Any) -> None:
    allowing = settings.model_copy(update={"registry_invocation_url_allow": "https://*.example.org"})
    async with AsyncExitStack() as stack:
        registry = await connect_registry(stack, allowing, clock)
        await registry.create(invocation_url="https://a.example.org/fn")
        resolved = await registry.internal.ResolveFunction(internal_pb.ResolveFunctionRequest(name=HELLO))
        assert resolved.function.invocation_url == "https://a.example.org/fn"
        with pytest.raises(InvalidArgument) as refused:
            await registry.update(HELLO, "invocation_url", invocation_url="http://169.254.169.254/latest")
        assert (refused.value.reason, list(refused.value.fields)) == ("INVOCATION_URL_NOT_ALLOWED", ["invocation_url"])
        assert refused.value.fields["invocation_url"] == answers("Control calls and keys")[NOT_ALLOWED]
        with pytest.raises(InvalidArgument):
            await registry.create("other", invocation_url="http://a.example.org")
    async with AsyncExitStack() as stack:  # an operator who thinks better of it
        registry = await connect_registry(stack, settings, clock)
        resolved = await registry.internal.ResolveFunction(internal_pb.ResolveFunctionRequest(name=HELLO))
        assert resolved.function.invocation_url == ""
        async for message in registry.watch():
            assert message.function.function.invocation_url == ""
            if message.HasField("bookmark"):
                break
        assert (await registry.update(HELLO, "description", description="new")).invocation_url
        assert (await registry.update(HELLO, "invocation_url")).invocation_url == ""
        with pytest.raises(InvalidArgument):
            await registry.update(HELLO, "invocation_url", invocation_url="https://a.example.org/fn")
