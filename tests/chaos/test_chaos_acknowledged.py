"""Killed between a commit and its acknowledgement: the client asks again, and there is one of what it asked for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from fnmesh.build.v1 import build_pb2, build_service_pb2
from fnmesh.build.v1.build_service_pb2_grpc import BuildServiceStub
from fnmesh.registry.v1 import function_pb2, registry_service_pb2
from fnmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.chaos import length
from tests.chaos.actors import HANDLER, Author, Source
from tests.chaos.faults import AFTERMATH_S, EXCUSES
from tests.chaos.ledger import Key
from tests.chaos.moments import MissedError, Tables, stopping
from tests.chaos.world import World

_TRIES = 10
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
Case = Callable[["Scene"], Awaitable[None]]
Send = Callable[[], Awaitable[Any]]


@dataclass
class Scene:
    """A world, its tables, and the plain stubs, whose calls are sent once."""

    world: World
    tables: Tables
    registry: Any
    builds: Any

    async def strike_at_row(self, service: str, send: Send, query: str, *arguments: object, **more: object) -> bool:
        """Kills a service when the query finds something; whether what `send` sends was not answered by then."""
        file = self.tables.file(service)
        return await self._strike(service, send, file=file, query=query, arguments=arguments, **more)

    async def _strike(self, service: str, send: Send, **moment: object) -> bool:
        ledger, faults = self.world.ledger, self.world.faults
        pid = await faults.pid(service)
        with ledger.disturbance(f"kill -9 {service} ({pid}) at its commit", EXCUSES[service]) as one:
            async with stopping(pid, **moment) as reached:
                call = asyncio.ensure_future(send())
                try:
                    await reached()
                except MissedError:
                    await asyncio.wait({call})
                    raise
                ledger.note("  the moment")
                os.kill(pid, signal.SIGKILL)
                await asyncio.wait({call})
            unanswered = call.exception() is not None
            ledger.note(f"unanswered: {unanswered}")
            await faults.back(service, pid)
            one.ended = ledger.now() + AFTERMATH_S
        return unanswered

    def name(self) -> str:
        return f"{self.world.ledger.prefix}once-{next(self.world.ledger.numbers)}"

    async def existing(self, *, deployed: bool = False) -> Author:
        """A new function."""
        author = Author(self.world.client, self.world.ledger, self.name().removeprefix(self.world.ledger.prefix))
        try:
            if deployed:
                assert await author.deploy(), self.world.told("the deploy failed")
            else:
                made = await self.registry.CreateFunction(_create(author.story.name))
                author.story.created(made.uid)
        finally:
            author.close()
        return author


def _create(name: str) -> registry_service_pb2.CreateFunctionRequest:
    function = function_pb2.Function(display_name=name, path=name, target=function_pb2.TARGET_PROCESS)
    return registry_service_pb2.CreateFunctionRequest(
        parent="workspaces/default", function=function, request_id=f"request-{name}"
    )


async def _again(call: Callable[[], Awaitable[Any]]) -> Any:
    """The answer of a call that is sent until it has one."""
    for _ in range(100):
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in _AGAIN:
                raise
            await asyncio.sleep(0.1)
    raise AssertionError("no answer after 100 tries")


async def _until_hit(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Repeats an attempt until it hit the moment. On a busy machine an answer may get away before the kill, or the
    moment may be over before it was looked for.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(MissedError):
            if await attempt():
                return
    raise AssertionError(f"the answer was there before the kill, {_TRIES} times")


async def create_function(scene: Scene) -> None:
    async def attempt() -> bool:
        request = _create(scene.name())
        name = request.function.display_name
        query = "SELECT uid FROM functions WHERE display_name = ?"
        hit = await scene.strike_at_row("registry", lambda: scene.registry.CreateFunction(request), query, name)
        committed = scene.tables.value("registry", query, name)
        answered = await _again(lambda: scene.registry.CreateFunction(request))
        assert answered.uid == committed
        assert [one.uid for one in await scene.world.client.list() if one.display_name == name] == [committed]
        scene.world.ledger.story(name).created(committed)
        return hit

    await _until_hit(attempt)


async def create_build(scene: Scene) -> None:
    async def attempt() -> bool:
        author = await scene.existing()
        story, edition = author.story, next(scene.world.ledger.numbers)
        code = (HANDLER % {"edition": edition, "imports": ""}).encode()
        source = await scene.builds.UploadSource(_upload(code))
        request = build_service_pb2.CreateBuildRequest(
            parent=f"workspaces/default/functions/{story.name}",
            build=build_pb2.Build(source_digest=source.source_digest, deploy=True),
            request_id=f"request-{edition}",
        )
        query = "SELECT uid FROM builds WHERE request_id = ?"
        hit = await scene.strike_at_row("build", lambda: scene.builds.CreateBuild(request), query, request.request_id)
        committed = scene.tables.value("build", query, request.request_id)
        answered = await _again(lambda: scene.builds.CreateBuild(request))
        assert answered.uid == committed
        assert [one.uid for one in await scene.world.client.builds(story.name)] == [committed]
        assert len(await scene.world.client.revisions(story.name)) == 1
        story.accepted(edition, answered.name)
        return hit

    await _until_hit(attempt)


async def _upload(code: bytes) -> AsyncIterator[build_service_pb2.UploadSourceRequest]:
    yield build_service_pb2.UploadSourceRequest(filename="handler.py")
    yield build_service_pb2.UploadSourceRequest(chunk=code)


async def end_of_a_build(scene: Scene) -> None:
    """The worker's own commits: DONE is there, and nobody has been told."""
    world = scene.world
    query = "SELECT uid FROM builds WHERE uid = ? AND state = 'DONE'"
    near = "SELECT 1 FROM builds WHERE uid = ? AND (stage IN ('ASSEMBLE', 'PUSH') OR state = 'DONE')"

    async def attempt() -> bool:
        source = Source(slow_library_s=0.5)  # so that it does not end before it is watched
        deploy = await world.changing.begin_deploy(source)
        assert deploy is not None, world.told("the deploy was not accepted")
        uid = deploy.build.name.rpartition("/")[2]
        await scene.strike_at_row("build", lambda: world.changing.await_deploy(deploy, source), query, uid, near=near)
        return True

    await _until_hit(attempt)


async def start_of_a_process(scene: Scene) -> None:
    """The process of an instance is there, and its row does not say so yet."""

    async def attempt() -> bool:
        await scene.strike_at_row(
            "deploy",
            scene.world.changing.deploy,
            "SELECT uid FROM instances WHERE state = 'starting' AND handle = ''",
            near="SELECT uid FROM instances WHERE state = 'starting'",
            instances=scene.world.mesh.run_dir / "i",
        )
        return True

    await _until_hit(attempt)


async def change_of_env(scene: Scene) -> None:
    author = await scene.existing(deployed=True)
    story = author.story

    async def attempt() -> bool:
        greeting, before = f"hello-{next(scene.world.ledger.numbers)}", max(story.revisions)
        request = registry_service_pb2.UpdateFunctionRequest(
            function=function_pb2.Function(
                name=f"workspaces/default/functions/{story.name}", env={"GREETING": greeting}
            ),
            update_mask=FieldMask(paths=["env.GREETING"]),
        )
        query = "SELECT serving FROM functions WHERE uid = ? AND serving > ?"
        hit = await scene.strike_at_row(
            "registry", lambda: scene.registry.UpdateFunction(request), query, story.uid, before
        )
        answered = await _again(lambda: scene.registry.UpdateFunction(request))
        assert answered.serving_revision.endswith(f"/revisions/{before + 1}")
        story.greeted(greeting)
        story.revisions.add(before + 1)
        return hit

    await _until_hit(attempt)


async def deletion(scene: Scene) -> None:
    async def attempt() -> bool:
        author = await scene.existing(deployed=True)
        name = f"workspaces/default/functions/{author.story.name}"
        request = registry_service_pb2.DeleteFunctionRequest(name=name)
        query = "SELECT 1 FROM functions WHERE uid = ? AND delete_time IS NOT NULL"
        hit = await scene.strike_at_row(
            "registry", lambda: scene.registry.DeleteFunction(request), query, author.story.uid
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _again(lambda: scene.registry.DeleteFunction(request))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        author.story.deleted()
        return hit

    await _until_hit(attempt)


async def new_key(scene: Scene) -> None:
    """It has no request_id, since its secret is told once: the key that nobody knows is found by its name."""

    async def attempt() -> bool:
        client, ledger = scene.world.client, scene.world.ledger
        wanted = scene.name()
        query = "SELECT key_id FROM api_keys WHERE display_name = ?"
        hit = await scene.strike_at_row(
            "registry", lambda: client.create_key(["invoke"], display_name=wanted), query, wanted
        )
        found = [key for key in await client.keys() if key.display_name == wanted]
        assert len(found) == 1
        await client.revoke_key(found[0].name)
        key_id = found[0].name.rpartition("/")[2]
        ledger.keys[key_id] = Key(key_id, revoked=True)
        return hit

    await _until_hit(attempt)


SHORT: list[Case] = [create_function, create_build, start_of_a_process]
LONG: list[Case] = [*SHORT, end_of_a_build, change_of_env, deletion, new_key]


@pytest.fixture
async def scene(world: World) -> AsyncIterator[Scene]:
    async with _stubs(world) as one:
        yield one


@asynccontextmanager
async def _stubs(world: World) -> AsyncIterator[Scene]:
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 500), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(world.mesh.server, options) as channel:
        tables = Tables(world.mesh.data_dir)
        yield Scene(world, tables, RegistryServiceStub(channel), BuildServiceStub(channel))


@pytest.mark.parametrize("case", LONG if length.chosen().is_long else SHORT, ids=lambda case: case.__name__)
async def test_killed_between_commit_and_acknowledgement(scene: Scene, case: Case) -> None:
    world = scene.world
    world.ledger.note(f"{case.__name__}: killed between commit and acknowledgement")
    async with world.explained(), world.calls():
        await case(scene)
    await world.check()
