"""Listings go on to their last page."""

from __future__ import annotations

from typing import Any, cast

from fnmesh.registry.v1 import function_pb2
from fnmesh.registry.v1 import registry_service_pb2 as pb
from gateway.rest import listings
from gateway.rest.caller import Caller


class Registry:
    """Five functions, two on a page whatever is asked for."""

    def __init__(self) -> None:
        self.registry = self
        self.asked: list[tuple[str, str]] = []

    async def ListFunctions(self, request: pb.ListFunctionsRequest) -> pb.ListFunctionsResponse:
        self.asked.append((request.parent, request.page_token))
        start = int(request.page_token or 0)
        numbers = range(start, min(start + 2, 5))
        found = [function_pb2.Function(number=number) for number in numbers]
        return pb.ListFunctionsResponse(functions=found, next_page_token=str(start + 2) if start + 2 < 5 else "")


async def test_every_page_is_asked_for() -> None:
    registry = Registry()
    mesh = cast("Caller", cast("Any", registry))

    found = [one.number async for one in listings.functions(mesh, "workspaces/x")]

    assert found == [0, 1, 2, 3, 4]
    assert registry.asked == [("workspaces/x", ""), ("workspaces/x", "2"), ("workspaces/x", "4")]


async def test_who_has_what_it_wanted_asks_no_more() -> None:
    registry = Registry()

    async for _ in listings.functions(cast("Caller", cast("Any", registry)), listings.EVERYWHERE):
        break

    assert registry.asked == [("workspaces/-", "")]
