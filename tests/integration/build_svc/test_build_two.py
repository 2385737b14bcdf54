"""Two build_svc on one PostgreSQL: what was sent to one is built, watched and cancelled at either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from tests.contract.build_svc.build_world import HELLO, NO_DOCKER, Client, World, zipped
from tests.integration.build_svc import slow_library
from tests.support.eventually import eventually

_LONG_LEASE = {"FNMESH_BUILD_LEASE_S": "120"}  # a wish to cancel is looked for every 40 s, or when it is told of


@pytest.fixture
async def two(postgres_url: str, data_dir: Path, tmp_run_dir: Path) -> AsyncIterator[tuple[Client, Client]]:
    both = ",".join(f"unix:{tmp_run_dir}/build-{number}.sock" for number in (1, 2))
    world = World(
        data_dir,
        tmp_run_dir,
        {**_LONG_LEASE, "FNMESH_DATABASE_URL": postgres_url, "FNMESH_BUILD_ADDRESS": both},
        NO_DOCKER,
    )
    first, second = both.split(",")
    async with (
        world.registry_running(),
        world.build_svc(FNMESH_LISTEN_ADDRESS=first) as one,
        world.build_svc(FNMESH_LISTEN_ADDRESS=second) as other,
    ):
        yield one, other


async def test_what_one_is_sent_the_other_builds_and_both_tell_the_same(two: tuple[Client, Client]) -> None:
    one, other = two
    files = {"handler.py": "def handler(event):\n    return 1\n"}
    made = []
    for number in range(4):  # more than one of them takes at a time
        digest = await one.upload("a.zip", zipped({**files, "number.txt": str(number)}))
        made.append(await other.create(digest, HELLO))
    for build in made:
        (ended, events), (_, same) = await asyncio.gather(one.ended(build.name), other.ended(build.name))
        assert ended.state == builds.BUILD_STATE_DONE, ended.error
        assert events == same


async def test_a_build_is_cancelled_whichever_is_asked(two: tuple[Client, Client]) -> None:
    digest = await two[0].upload("a.zip", zipped(slow_library.source(slow_library.SLEEP)))
    for asked in two:
        build = await two[0].create(digest)

        async def runs(name: str = build.name) -> bool:
            return (await two[0].get(name)).state == builds.BUILD_STATE_BUILDING

        await eventually(runs)
        await asked.stub.CancelBuild(pb.CancelBuildRequest(name=build.name))

        async def ended(name: str = build.name) -> bool:
            return (await two[0].get(name)).state == builds.BUILD_STATE_CANCELLED

        await eventually(ended, 25)
