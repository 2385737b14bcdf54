"""The book of resources: who is sent what, and when a change counts as applied."""

from __future__ import annotations

import asyncio

from gateway.domain import Members
from gateway.envoy.book import Book, Subscriber
from gateway.envoy.resources import CLUSTER, ENDPOINTS, Resource, endpoints
from tests.support.eventually import eventually

ORDER = (CLUSTER, ENDPOINTS)


def subscriber(book: Book, *names: str) -> Subscriber:
    one = Subscriber()
    one.wanted.update((ENDPOINTS, name) for name in names)
    book.attach(one)
    return one


def names(book: Book, one: Subscriber) -> list[str]:
    return [resource.name for change in book.changes(one, ORDER) for resource in change.resources]


async def test_nothing_is_sent_before_the_release() -> None:
    book = Book()
    book.put(endpoints("invoke", ["unix:/a"]))
    one = subscriber(book, "invoke")
    assert names(book, one) == []
    book.release()
    assert one.wake.is_set()
    assert names(book, one) == ["invoke"]
    assert names(book, one) == []


async def test_only_what_is_wanted_and_different_is_sent() -> None:
    book = Book()
    book.release()
    book.put(endpoints("invoke", ["unix:/a"]), endpoints("build", ["unix:/b"]), Resource(CLUSTER, "c", b"x"))
    one = subscriber(book, "invoke")
    assert names(book, one) == ["invoke"]
    book.put(endpoints("invoke", ["unix:/a"]), endpoints("build", []))
    assert names(book, one) == []
    book.put(endpoints("invoke", ["unix:/a", "unix:/c"]))
    assert names(book, one) == ["invoke"]
    one.wildcards.add(CLUSTER)
    assert names(book, one) == ["c"]


async def test_what_envoy_has_already_is_not_sent_again() -> None:
    book = Book()
    book.release()
    resource = endpoints("invoke", ["unix:/a"])
    book.put(resource)
    one = subscriber(book, "invoke")
    one.known[ENDPOINTS, "invoke"] = resource.version
    one.known[ENDPOINTS, "gone"] = "1"
    (change,) = book.changes(one, ORDER)
    assert (change.resources, change.removed) == ((), ("gone",))


async def test_applied_waits_for_every_envoy() -> None:
    book = Book()
    book.release()
    resource = endpoints("invoke", ["unix:/a"])
    book.put(resource)
    first, second = subscriber(book, "invoke"), subscriber(book, "invoke")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(book.applied(resource))
        await book.acknowledge(first, {(ENDPOINTS, "invoke"): resource.version})
        await asyncio.sleep(0)
        assert not waiting.done()
        await book.acknowledge(second, {(ENDPOINTS, "invoke"): resource.version})
        await eventually(waiting.done)


async def test_a_later_version_counts_and_an_envoy_that_went_does_not() -> None:
    book = Book()
    book.release()
    old = endpoints("invoke", ["unix:/a"])
    book.put(old)
    first, second = subscriber(book, "invoke"), subscriber(book, "invoke")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(book.applied(old))
        new = endpoints("invoke", ["unix:/a", "unix:/b"])
        book.put(new)
        await book.acknowledge(first, {(ENDPOINTS, "invoke"): new.version})
        await book.detach(second)
        await eventually(waiting.done)


async def test_without_any_envoy_a_change_is_applied() -> None:
    book = Book()
    book.release()
    async with asyncio.timeout(5):
        await book.applied(endpoints("invoke", []))


def test_an_address_that_joined_twice_leaves_with_the_last() -> None:
    members = Members()
    first, second = members.join("invoke", "unix:/a"), members.join("invoke", "unix:/a")
    members.leave(first)
    members.leave(first)
    assert members.addresses("invoke") == {"unix:/a"}
    assert members.missing() == ("registry", "build", "deploy")
    members.leave(second)
    assert members.addresses("invoke") == frozenset()
