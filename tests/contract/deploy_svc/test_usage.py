"""What instances use: measured of real ones, kept on both databases, and told by UsageService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy_svc.app import MIGRATIONS
from deploy_svc.domain import Instance, InstanceState, Target
from deploy_svc.usage.domain import Capacity, Minute, Reading, Use
from deploy_svc.usage.sampler import Sampler
from deploy_svc.usage.store import TargetMinute, UsageStore
from fnmesh.deploy.v1 import usage_service_pb2 as pb
from fnmesh.deploy.v1 import usage_service_pb2_grpc as pb_grpc
from fnmesh.registry.v1 import function_pb2
from mesh.clock import FakeClock
from mesh.db import Database
from mesh.errors import InvalidArgument, NotFound, Unavailable
from mesh.rpc_client import open_channel
from tests.support import function_image
from tests.support.deploy_harness import Client, DeployHarness, Revision, harness
from tests.support.eventually import eventually

MIB = 1 << 20
BUSY = """
import threading
hoard = b"x" * (40 << 20)
def spin():
    while True:
        pass
threading.Thread(target=spin, daemon=True).start()
def handler(event):
    return "ok"
"""
NAME = "workspaces/ws-default/functions/fn-abcdefghijkl"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    one = Database(database_url, schema="deploy")
    await one.migrate(MIGRATIONS)
    yield one
    await one.close()


class Clockwork:
    """One instance that uses half a CPU and 10 MiB, on a machine of 2 CPUs and 100 MiB."""

    target = Target.PROCESS

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.answers = True

    async def live_instances(self) -> list[Instance]:
        made = datetime(2026, 1, 1, tzinfo=UTC)
        return [Instance("in-1", "fn-1", 1, Target.PROCESS, InstanceState.READY, made, handle="1@1")]

    async def capacity(self) -> Capacity:
        return Capacity(2, 100 * MIB)

    async def read(self, instances: Sequence[Instance]) -> Mapping[str, Reading]:
        if not self.answers:
            raise Unavailable("GONE", "It does not answer.")
        return {one.uid: Reading(self._clock.monotonic() / 2, 10 * MIB) for one in instances}


async def test_a_restart_loses_the_running_minute_at_most(database: Database) -> None:
    clock, store = FakeClock(), UsageStore(database)
    clockwork = Clockwork(clock)
    first = int(clock.now().timestamp() // 60)
    for _ in range(2):  # the second is what comes after a restart
        sampler = Sampler(clockwork, [clockwork], store, clock, interval_s=15)
        for _ in range(9):
            await sampler.step()
            clock.advance(15)

    minutes = await store.of_function("fn-1", first)

    assert sorted(minutes) == [first, first + 1, first + 2, first + 3]
    assert {use.memory_bytes for use in minutes.values()} == {10 * MIB}
    assert [use.cpus for _, use in sorted(minutes.items())] == pytest.approx([0.5] * 4)
    percents = (await store.of_targets(first))[Target.PROCESS]
    assert percents[first] == pytest.approx((25.0, 10.0))


async def test_of_several_processes_that_measure_the_one_that_leads_keeps_minutes(database: Database) -> None:
    clock, store, leads = FakeClock(), UsageStore(database), [False]
    clockwork = Clockwork(clock)
    sampler = Sampler(clockwork, [clockwork], store, clock, lambda: leads[0], interval_s=15)
    for _ in range(9):
        await sampler.step()
        clock.advance(15)
    assert sampler.now()["fn-1"].instances == 1  # it can be asked all the same
    assert await store.of_targets(0) == {}

    leads[0] = True
    clock.advance(60)
    await sampler.step()
    assert len(await store.of_function("fn-1", 0)) == 1


async def test_a_target_that_does_not_answer_has_no_minutes(database: Database) -> None:
    clock, store = FakeClock(), UsageStore(database)
    clockwork = Clockwork(clock)
    sampler = Sampler(clockwork, [clockwork], store, clock, interval_s=15)
    await sampler.step()
    assert sampler.now()["fn-1"].instances == 1

    clockwork.answers = False
    clock.advance(60)
    await sampler.step()

    assert sampler.now() == {}
    assert await sampler.running() == []
    assert await store.of_targets(0) == {}


async def test_minutes_go_after_a_while_and_may_be_written_again(database: Database) -> None:
    store = UsageStore(database)
    for number in (1000, 1000, 1100, 1121):
        minute = Minute(number, {"fn-1": Use(1.0, number)}, Use(1.0, number))
        await store.put([TargetMinute(Target.DOCKER, minute, (1.0, 2.0))])

    assert await store.of_function("fn-1", 0) == {1100: Use(1.0, 1100), 1121: Use(1.0, 1121)}
    assert await store.of_function("fn-2", 1110) == {1121: Use()}


async def usage_of(mesh: DeployHarness, target: int) -> tuple[pb.FunctionUsage, pb.TargetUsage]:
    """Once a CPU's worth of use has been measured of the function, and all that is told of it and its target."""
    async with open_channel(mesh.load_settings().deploy_address, token=mesh.token) as channel:
        stub = pb_grpc.UsageServiceStub(channel)

        async def busy() -> pb.FunctionUsage:
            found: pb.FunctionUsage = await stub.GetFunctionUsage(pb.GetFunctionUsageRequest(name=NAME))
            assert found.current.cpus > 0.1 and found.current.memory_bytes > 40 * MIB, found
            return found

        found = await eventually(busy, 30)
        assert found is not None
        (listed,) = (
            await stub.ListFunctionUsage(pb.ListFunctionUsageRequest(parent="workspaces/-/functions/-"))
        ).functions
        assert (listed.function, listed.instances, len(listed.points)) == (NAME, 1, 0)
        other = pb.ListFunctionUsageRequest(parent="workspaces/ws-other/functions/-")
        assert not (await stub.ListFunctionUsage(other)).functions
        return found, await stub.GetTargetUsage(pb.GetTargetUsageRequest(target=target))  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["process", pytest.param("docker", marks=pytest.mark.docker)])
async def test_a_busy_instance(target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    docker = target == "docker"
    host = request.getfixturevalue("docker_host") if docker else "unix:///nowhere/docker.sock"
    revision = Revision({"app/handler.py": BUSY})
    number = function_pb2.TARGET_PROCESS
    if docker:
        base = request.getfixturevalue("docker_python_image")
        image = function_image.build(host, base, {"handler.py": BUSY}, tmp_path)
        number = function_pb2.TARGET_DOCKER
        revision = Revision(image=image, target=number)
    async with harness(host) as mesh:
        mesh.settings["FNMESH_DEPLOY_USAGE_INTERVAL_S"] = "0.3"
        async with mesh.here(), mesh.client() as client:
            await mesh.want("fn-abcdefghijkl", 1, revision)
            found, whole = await usage_of(mesh, number)
            await bad_questions(mesh, client)

    assert (found.function, found.instances) == (NAME, 1)
    assert found.current.memory_bytes < 200 * MIB
    assert 1 <= len(found.points) <= 2
    assert found.points[-1].memory_bytes > 0
    assert whole.points[-1].cpu_percent > 0
    assert 0 < whole.points[-1].memory_percent < 100


async def bad_questions(mesh: DeployHarness, client: Client) -> None:
    """What has no answer says why."""
    async with open_channel(mesh.load_settings().deploy_address, token=mesh.token) as channel:
        stub = pb_grpc.UsageServiceStub(channel)
        with pytest.raises(NotFound):
            await stub.GetFunctionUsage(pb.GetFunctionUsageRequest(name="workspaces/default/functions/nothing"))
        with pytest.raises(InvalidArgument):
            await stub.ListFunctionUsage(pb.ListFunctionUsageRequest(parent=NAME))
        for field in ("lookback", "period"):
            request = pb.GetTargetUsageRequest()
            getattr(request, field).FromSeconds(3601)
            with pytest.raises(InvalidArgument):
                await stub.GetTargetUsage(request)
