"""What deploy_svc is told for functions that are scaled to zero: who asks for one, and which are used."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.eventually import eventually

OK = "HTTP/1.1 200 OK"


async def test_an_instance_is_asked_for_until_there_is_one(mesh: Any, kit: Any) -> None:
    _, address = await mesh.workload(kit.always(kit.says(OK, body=b"awake")))
    mesh.registry.put("fn-hello")
    mesh.deploy.refusals = 1
    await mesh.settled()
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(mesh.http()) for _ in range(5)]
        await eventually(lambda: mesh.deploy.activated == ["fn-hello"] * 2)  # once for all, and again: it was refused
        mesh.deploy.put("in-1", "fn-hello", address)
    assert {call.result().body for call in calls} == {b"awake"}


async def test_nothing_is_asked_for_where_there_is_one(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK)))
    assert (await mesh.http()).status == 200
    await eventually(lambda: "fn-hello" in mesh.deploy.used)
    assert mesh.deploy.activated == []


async def test_functions_that_are_used_are_named(mesh: Any, kit: Any) -> None:
    for uid in ("fn-hello", "fn-other", "fn-third"):
        await mesh.function(kit.always(kit.says(OK)), uid=uid)
    assert (await mesh.http()).status == 200
    await eventually(lambda: set(mesh.deploy.used) == {"fn-hello"})
    mesh.deploy.used.clear()
    assert (await mesh.http(path="/api/other")).status == 200
    await eventually(lambda: set(mesh.deploy.used) == {"fn-other"})


async def test_a_request_under_way_is_use(mesh: Any, kit: Any) -> None:
    ended = asyncio.Event()

    async def slow(heard: Any, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.write(kit.says(OK))

    await mesh.function(slow)
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(mesh.http())
        await eventually(lambda: mesh.deploy.used.count("fn-hello") >= 2)
        ended.set()
    assert call.result().status == 200
