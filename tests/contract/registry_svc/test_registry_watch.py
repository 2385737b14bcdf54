"""WatchFunctions: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.registry.v1 import registry_service_pb2 as pb
from mesh.clock import FakeClock
from mesh.errors import Unavailable
from registry_svc.settings import RegistrySettings
from tests.support.eventually import eventually

HELLO = "workspaces/default/functions/hello"


async def until_bookmark(stream: Any) -> tuple[list[Any], int]:
    """Messages up to the next bookmark, and its version."""
    seen = []
    async for message in stream:
        if message.HasField("bookmark"):
            return seen, message.bookmark.version
        seen.append(message)
    raise AssertionError("the stream ended")


def names(messages: list[Any]) -> list[str]:
    return [one.function.function.display_name for one in messages]


async def test_list_then_watch(registry: Any) -> None:
    await registry.create("a", env={"K": "v"})
    await registry.create("b")
    stream = registry.watch()
    seen, version = await until_bookmark(stream)
    assert names(seen) == ["a", "b"]
    assert seen[0].function.function.env == {"K": ""}
    assert seen[0].function.workspace_display_name == "default"
    await registry.create("c")
    seen, later = await until_bookmark(stream)
    assert names(seen) == ["c"] and later > version
    await registry.public.DeleteFunction(pb.DeleteFunctionRequest(name="workspaces/default/functions/a"))
    seen, _ = await until_bookmark(stream)
    assert seen[0].function.deleted and seen[0].function.serving_revision_number == 0
    stream.cancel()


async def test_an_empty_registry_sends_a_bookmark(registry: Any) -> None:
    assert (await until_bookmark(registry.watch()))[0] == []


async def test_resuming_loses_and_repeats_nothing_under_concurrent_writers(
    registry: Any, settings: RegistrySettings, clock: FakeClock
) -> None:
    functions = [await registry.create(f"f{number}") for number in range(6)]
    written: dict[str, int] = {}
    received: list[tuple[int, str, str]] = []
    done = False

    async def write(function: Any) -> None:
        for turn in range(12):
            after = await registry.update(function.name, "description", description=str(turn))
            written[after.uid] = turn

    async def watch() -> None:
        cursor, turns = 0, 0
        while not done:
            turns += 1
            stream = registry.watch(cursor)
            count = 0
            async for message in stream:
                if message.HasField("bookmark"):
                    cursor = message.bookmark.version
                else:
                    assert not message.HasField("reset")
                    shown = message.function
                    received.append((shown.version, shown.function.uid, shown.function.description))
                    cursor = shown.version
                count += 1
                if count >= 3 + turns % 4 or done:
                    break
            stream.cancel()

    def all_seen() -> bool:
        newest = {uid: text for _, uid, text in received}
        return newest == {function.uid: "11" for function in functions}

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        writers = [tasks.create_task(write(function)) for function in functions]
        await asyncio.gather(*writers)
        await eventually(all_seen)
        done = True
        watching.cancel()
    versions = [version for version, _, _ in received]
    assert versions == sorted(set(versions))


async def test_a_long_list_comes_whole(registry: Any) -> None:
    for first in range(0, 230, 20):  # all at once they would wait for each other past their deadlines
        await asyncio.gather(*(registry.create(f"f{number}") for number in range(first, min(first + 20, 230))))
    stream = registry.watch()
    seen, _ = await until_bookmark(stream)
    assert len(set(names(seen))) == len(seen) == 230
    stream.cancel()


async def test_tombstones_stay_and_then_a_reset_is_sent(
    settings: RegistrySettings, clock: FakeClock, connect_registry: Any
) -> None:
    async with AsyncExitStack() as stack:
        registry = await connect_registry(stack, settings, clock)
        await registry.create("old")
        keep = await registry.create("keep")
        _, version = await until_bookmark(registry.watch())
        old = await registry.get("workspaces/default/functions/old")
        await registry.public.DeleteFunction(pb.DeleteFunctionRequest(name=old.name))
        fresh, _ = await until_bookmark(registry.watch())
        assert [one.function.deleted for one in fresh] == [False, True]
        await registry.internal.ReportDeleted(internal_pb.ReportDeletedRequest(function_uid=old.uid))
        fresh, _ = await until_bookmark(registry.watch())
        assert names(fresh) == ["keep"]
        resumed, _ = await until_bookmark(registry.watch(version))
        assert [one.function.function.uid for one in resumed] == [old.uid]
    clock.advance(settings.registry_tombstone_s - 60)
    async with AsyncExitStack() as stack:
        registry = await connect_registry(stack, settings, clock)
        resumed, newest = await until_bookmark(registry.watch(version))
        assert [one.function.deleted for one in resumed] == [True]
    clock.advance(120)
    async with AsyncExitStack() as stack:
        registry = await connect_registry(stack, settings, clock)

        async def is_reset() -> list[Any]:
            messages, _ = await until_bookmark(registry.watch(version))
            assert messages[0].HasField("reset")
            return messages

        messages = await eventually(is_reset)
        assert [one.function.function.uid for one in messages[1:]] == [keep.uid]
        assert not (await until_bookmark(registry.watch(newest)))[0]
        ahead, _ = await until_bookmark(registry.watch(newest + 1000))
        assert ahead[0].HasField("reset")


async def test_changes_of_another_process_are_seen(
    registry: Any, settings: RegistrySettings, clock: FakeClock, connect_registry: Any, tmp_run_dir: Any
) -> None:
    async with AsyncExitStack() as stack:
        address = f"unix:{tmp_run_dir}/m/second.sock"
        other = await connect_registry(stack, settings.model_copy(update={"registry_address": address}), clock)
        stream = other.watch()
        await until_bookmark(stream)
        await registry.create()
        assert names((await until_bookmark(stream))[0]) == ["hello"]
        stream.cancel()


async def test_a_watch_ends_at_its_age(settings: RegistrySettings, clock: FakeClock, connect_registry: Any) -> None:
    async with AsyncExitStack() as stack:
        registry = await connect_registry(stack, settings, clock)
        stream = aiter(registry.watch())
        await anext(stream)
        clock.advance(settings.registry_watch_max_age_s + 1)
        with pytest.raises(Unavailable) as aged:
            await anext(stream)
        assert aged.value.reason == "STREAM_AGED"
