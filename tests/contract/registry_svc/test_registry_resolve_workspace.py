"""Workspaces by name, for the other services."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as pb
from mesh.errors import InvalidArgument, NotFound


async def test_a_workspace_by_its_name_is_made_on_first_use_where_asked_for(registry: Any) -> None:
    resolve = registry.internal.ResolveWorkspace
    default = await resolve(pb.ResolveWorkspaceRequest(name="workspaces/default"))
    assert (default.uid, default.display_name) == ("ws-default", "default")
    with pytest.raises(NotFound):
        await resolve(pb.ResolveWorkspaceRequest(name="workspaces/my-project"))
    request = pb.ResolveWorkspaceRequest(name="workspaces/my-project", create=True)
    made = await asyncio.gather(*(resolve(request) for _ in range(3)), return_exceptions=True)
    uids = {one.uid for one in made if isinstance(one, pb.ResolveWorkspaceResponse)}
    assert len(uids) == 1, made
    again = await resolve(pb.ResolveWorkspaceRequest(name=f"workspaces/{uids.pop()}"))
    assert again.display_name == "my-project"


async def test_no_workspace_is_made_of_what_is_no_name(registry: Any) -> None:
    for name, error in (("workspaces/ws-aaaaaaaaaaaa", NotFound), ("workspaces/No Name", InvalidArgument)):
        with pytest.raises(error):
            await registry.internal.ResolveWorkspace(pb.ResolveWorkspaceRequest(name=name, create=True))
