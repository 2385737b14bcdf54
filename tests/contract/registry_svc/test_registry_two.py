"""Two registries on one PostgreSQL: what one writes the other one tells its watchers of, at once and all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.registry.v1 import registry_service_pb2 as pb
from mesh.clock import FakeClock
from registry_svc.settings import RegistrySettings
from tests.support.eventually import eventually

Connect = Callable[[AsyncExitStack, RegistrySettings, FakeClock], Awaitable[Any]]
_NEVER_S = 60.0  # a watch that goes by its own looks alone would be this late


async def _two(
    stack: AsyncExitStack, connect: Connect, url: str, tmp_path: Path, run_dir: Path, token: str
) -> tuple[Any, Any]:
    (run_dir / "token").write_text(token)
    found = []
    for number in (1, 2):
        settings = RegistrySettings(
            data_dir=tmp_path / "data",
            run_dir=run_dir,
            database_url=url,
            registry_address=f"unix:{run_dir}/m/registry-1.sock,unix:{run_dir}/m/registry-2.sock",
            listen_address=f"unix:{run_dir}/m/registry-{number}.sock",
            registry_poll_interval_s=_NEVER_S,
            registry_drain_s=1,
        )
        found.append(await connect(stack, settings, FakeClock()))
    return found[0], found[1]


async def test_what_one_writes_watchers_of_the_other_are_told(
    postgres_url: str, tmp_path: Path, tmp_run_dir: Path, connect_registry: Connect
) -> None:
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        one, other = await _two(stack, connect_registry, postgres_url, tmp_path, tmp_run_dir, "s" * 40)
        seen: list[str] = []

        async def watch() -> None:
            async for message in other.watch():
                if message.HasField("function"):
                    seen.append(message.function.function.display_name)

        watching = tasks.create_task(watch())

        async def told(name: str) -> None:
            """What is written before the other one listens to it is told with the next change."""
            await one.create(name)
            number = 0
            while name not in seen:
                number += 1
                await one.create(f"{name}-{number}")
                await asyncio.sleep(0.1)

        await told("first")
        before = len(seen)
        await one.create("second")
        await eventually(lambda: "second" in seen[before:], 20)
        watching.cancel()


async def test_pages_and_changes_go_on_at_the_other_one(
    postgres_url: str, tmp_path: Path, tmp_run_dir: Path, connect_registry: Connect
) -> None:
    async with AsyncExitStack() as stack:
        one, other = await _two(stack, connect_registry, postgres_url, tmp_path, tmp_run_dir, "s" * 40)
        made = [await (one, other)[number % 2].create(f"f{number}", env={"K": f"v{number}"}) for number in range(5)]
        names, token, asked = [], "", 0
        while True:
            request = pb.ListFunctionsRequest(parent="workspaces/default", page_size=2, page_token=token)
            answer = await (one, other)[asked % 2].public.ListFunctions(request)
            names += [function.display_name for function in answer.functions]
            token, asked = answer.next_page_token, asked + 1
            if not token:
                break
        assert sorted(names) == [f"f{number}" for number in range(5)]
        assert (await other.get(made[0].name)).env == {"K": "v0"}  # encrypted by the first one
        revision = await one.build(made[0].name, "bld-1")
        assert (await other.serving(made[0].name))[0] == revision.number
        repeated = pb.CreateFunctionRequest(
            parent="workspaces/default",
            function={"display_name": "once"},
            request_id="8c5e3d4e-7f1a-4b5e-9b7a-000000000001",
        )
        assert (await one.public.CreateFunction(repeated)) == (await other.public.CreateFunction(repeated))
        asked_for = internal_pb.CreateRevisionRequest(
            function=made[1].name, build_uid="bld-2", runtime=1, default_target=1
        )
        again = [(await each.internal.CreateRevision(asked_for)).revision for each in (one, other)]
        assert again[0] == again[1]
