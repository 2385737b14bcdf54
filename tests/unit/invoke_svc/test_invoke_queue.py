"""Which instance takes a request, and who waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from invoke_svc.admission import AVOID_UNREACHABLE_S, Admission, Instance, QueueLimits
from invoke_svc.domain import InstanceState, NotDeployed, Route
from mesh.errors import DeadlineExceeded, ResourceExhausted, Unavailable

HELLO = Route("fn-1", "n", "ws", "hello", "default", "hello", frozenset(), 1, 30.0)


def state(
    uid: str = "in-1", concurrency: int = 1, accepting: bool = True, revision: int = 1, version: int = 1
) -> InstanceState:
    return InstanceState(uid, "fn-1", revision, f"unix:/{uid}", concurrency, accepting, version)


def admission(*states: InstanceState, released: list[str] | None = None, **limits: float) -> Admission:
    result = Admission(QueueLimits(**limits), (released if released is not None else []).append)  # type: ignore[arg-type]
    for one in states:
        result.put(one)
    return result


def taken(result: Admission, route: Route = HELLO) -> str:
    instance = result.try_acquire(route)
    return instance.state.uid if instance else ""


def test_the_least_busy_instance_of_the_wanted_revision() -> None:
    queue = admission(state("in-a", 2), state("in-b", 2), state("in-old", 2, revision=7))
    assert sorted([taken(queue), taken(queue)]) == ["in-a", "in-b"]
    assert sorted([taken(queue), taken(queue)]) == ["in-a", "in-b"]
    assert [taken(queue), taken(queue), taken(queue)] == ["in-old", "in-old", ""]


async def test_first_come_first_served() -> None:
    queue = admission(state())
    holder = queue.try_acquire(HELLO)
    assert holder is not None
    order: list[int] = []

    async def request(number: int) -> None:
        instance = await queue.wait(HELLO, 5)
        order.append(number)
        assert queue.inflight == 1
        queue.release(instance)

    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(request(number))
        await asyncio.sleep(0)
        assert (queue.waiting, queue.try_acquire(HELLO)) == (5, None)
        queue.release(holder)
    assert (order, queue.waiting, queue.inflight) == ([0, 1, 2, 3, 4], 0, 0)


@pytest.mark.parametrize("limits", [{"per_function": 0}, {"in_all": 0}])
async def test_queues_are_bounded(limits: dict[str, float]) -> None:
    queue = admission(state(), **limits)
    assert taken(queue)
    with pytest.raises(ResourceExhausted):
        await queue.wait(HELLO, 5)
    assert queue.waiting == 0


async def test_time_limits_of_waiting() -> None:
    queue = admission(cold_start_s=0.01)
    with pytest.raises(Unavailable) as nothing:
        await queue.wait(HELLO, 0.01)
    assert (nothing.value.reason, nothing.value.retry_after_s) == ("NO_INSTANCE", 1)
    queue.put(state())
    assert taken(queue)
    with pytest.raises(DeadlineExceeded):
        await queue.wait(HELLO, 0.01)
    assert queue.waiting == 0


async def test_a_place_given_to_one_who_gave_up_goes_on_to_the_next() -> None:
    queue = admission(state())
    holder = queue.try_acquire(HELLO)
    assert holder is not None
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(queue.wait(HELLO, 5)) for _ in range(2))
        await asyncio.sleep(0)
        queue.release(holder)
        first.cancel()
    assert second.result().inflight == 1
    assert (queue.waiting, queue.inflight) == (0, 1)


async def test_waiting_makes_no_sense() -> None:
    queue = admission()
    with pytest.raises(NotDeployed):
        await queue.wait(replace(HELLO, revision=0), 5)
    with pytest.raises(Unavailable) as failed:
        await queue.wait(replace(HELLO, failure="It is broken."), 5)
    assert (failed.value.reason, failed.value.message) == ("DEPLOYMENT_FAILED", "It is broken.")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(_outcome(queue))
        await asyncio.sleep(0)
        queue.route_changed("fn-1", HELLO)
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.route_changed("fn-1", None)
    assert waiting.result() == "FUNCTION_NOT_FOUND"


async def _outcome(queue: Admission) -> str:
    from mesh.errors import MeshError

    try:
        await queue.wait(HELLO, 5)
    except MeshError as error:
        return error.reason
    return ""


def test_a_draining_instance_is_released_when_it_is_free() -> None:
    released: list[str] = []
    queue = admission(state("in-a"), state("in-b"), released=released)
    busy = queue.try_acquire(HELLO)
    assert busy is not None
    for uid in ("in-a", "in-b"):
        queue.put(state(uid, accepting=False, version=2))
    assert released == ["in-b" if busy.state.uid == "in-a" else "in-a"]
    assert taken(queue) == ""
    queue.release(busy)
    assert sorted(released) == ["in-a", "in-b"]


def test_an_older_state_is_ignored_and_the_gone_are_forgotten() -> None:
    queue = admission(state(version=5, accepting=False))
    queue.put(state(version=4, accepting=True))
    assert queue.is_cold(HELLO)
    queue.put(state("in-2"))
    queue.keep_only(["in-2"])
    assert taken(queue) == "in-2"
    queue.remove("in-2")
    queue.remove("in-2")
    assert queue.is_cold(HELLO)


async def test_a_silent_instance_stays_avoided_whatever_else_is_known_of_it() -> None:
    queue = admission(state())
    instance = queue.try_acquire(HELLO)
    assert isinstance(instance, Instance)
    queue.release(instance)
    past_the_others = asyncio.Event()
    queue.avoid_unreachable(instance)
    queue.avoid_silent(instance)
    queue.avoid_refusing(instance)
    queue.avoid_unreachable(instance)
    asyncio.get_running_loop().call_later(AVOID_UNREACHABLE_S, past_the_others.set)
    await past_the_others.wait()
    assert queue.is_cold(HELLO)
    queue.put(state("in-2"))
    assert taken(queue) == "in-2"


async def test_an_avoided_instance_comes_back() -> None:
    queue = admission(state())
    instance = queue.try_acquire(HELLO)
    assert isinstance(instance, Instance)
    queue.avoid_unreachable(instance)
    queue.release(instance)
    assert queue.is_cold(HELLO)
    assert await queue.wait(HELLO, 5) is instance
    queue.avoid_refusing(instance)
    assert not queue.is_cold(HELLO)
