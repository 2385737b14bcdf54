"""Listings of the registry from their first page to their last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fnmesh.registry.v1 import function_pb2, workspace_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest.caller import Caller

EVERYWHERE = "workspaces/-"
_PAGE = 1000


async def functions(mesh: Caller, parent: str) -> AsyncIterator[function_pb2.Function]:
    """The functions of a workspace, or of all of them (EVERYWHERE)."""
    async for answer in _pages(mesh.registry.ListFunctions, registry_pb.ListFunctionsRequest(parent=parent)):
        for one in answer.functions:
            yield one


async def workspaces(mesh: Caller) -> AsyncIterator[workspace_pb2.Workspace]:
    """The workspaces that the caller may see."""
    async for answer in _pages(mesh.registry.ListWorkspaces, registry_pb.ListWorkspacesRequest()):
        for one in answer.workspaces:
            yield one


async def _pages(call: Any, request: Any) -> AsyncIterator[Any]:
    request.page_size = _PAGE
    while True:
        answer = await call(request)
        yield answer
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token
