"""What is remembered of functions' code."""

from __future__ import annotations

from gateway.rest.codes import Code, CodeCache


def test_the_newest_are_kept_and_no_more_than_fits() -> None:
    cache = CodeCache(limit=1000)
    for name in "abc":
        cache.put(name, Code(name * 100))
    assert cache.get("a") == Code("a" * 100)
    cache.put("d", Code("d" * 100))

    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]

    cache.put("large", Code("x" * 2000))
    assert [name for name in ("a", "c", "d", "large") if cache.get(name)] == []


def test_the_same_again_counts_once() -> None:
    cache = CodeCache(limit=1000)
    for _ in range(10):
        cache.put("a", Code("a" * 100, "six"))
    cache.put("b", Code("b" * 100))
    assert cache.get("a") == Code("a" * 100, "six")
    assert cache.get("b")
