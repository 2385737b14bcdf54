"""Which function a path and a method mean."""

from __future__ import annotations

import gc
import sys
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoke_svc.domain import MethodNotAllowed, Route
from invoke_svc.routes import RouteTable, decode_segment
from mesh.errors import InvalidArgument, MeshError, NotFound, Unavailable

SEGMENT = st.text(st.sampled_from("abAB01.-_~ü%"), min_size=1, max_size=4).filter(lambda s: s not in (".", ".."))
PATH = st.lists(SEGMENT, min_size=1, max_size=4)


def route(path: str, uid: str = "", methods: str = "", version: int = 1, **fields: object) -> Route:
    return Route(
        uid=uid or f"fn-{path}",
        name=f"workspaces/ws-1/functions/{uid or path}",
        workspace="ws-1",
        display_name=uid or path,
        workspace_display_name="default",
        path=path,
        methods=frozenset(methods.split()),
        revision=1,
        timeout_s=30,
        version=version,
        **fields,  # type: ignore[arg-type]
    )


def table(*routes: Route) -> RouteTable:
    result = RouteTable()
    result.synced = True
    for one in routes:
        result.put(one)
    return result


def found(routes: RouteTable, target: str, method: str = "GET") -> str:
    try:
        return routes.find(target, method).path
    except MeshError as error:
        return error.reason


def test_the_longest_prefix_by_segments_wins() -> None:
    routes = table(route("a"), route("a/b"), route("a/b/c/d"))
    assert found(routes, "/api/a") == "a"
    assert found(routes, "/api/a/") == "a"
    assert found(routes, "/api/a/x/b") == "a"
    assert found(routes, "/api/a/b?x=/c/d") == "a/b"
    assert found(routes, "/api/a/b/c") == "a/b"
    assert found(routes, "/api/a/b/c/d/e") == "a/b/c/d"
    assert found(routes, "/api/ab") == "FUNCTION_NOT_FOUND"
    assert found(routes, "/api/A") == "FUNCTION_NOT_FOUND"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/api/a%2Fb", "FUNCTION_NOT_FOUND"),
        ("/api/a%2fb/c", "FUNCTION_NOT_FOUND"),
        ("/api//a", "FUNCTION_NOT_FOUND"),
        ("/api/./a", "FUNCTION_NOT_FOUND"),
        ("/api/x/../a", "FUNCTION_NOT_FOUND"),
        ("/api/%2e%2e/a", "FUNCTION_NOT_FOUND"),
        ("/api/%2E/a", "FUNCTION_NOT_FOUND"),
        ("/api/a/../secret", "a"),
        ("/api/a/%2e%2e/secret", "a"),
        ("/api/a/%2e%2e%2fsecret", "a"),
        ("/api/a//b", "a"),
        ("/api/a/%2Fb", "a"),
        ("/api/%61", "a"),
        ("/api/%2561", "FUNCTION_NOT_FOUND"),
        ("/api/%00", "PATH_MALFORMED"),
        ("/api/a%00", "PATH_MALFORMED"),
        ("/api/%ff", "PATH_MALFORMED"),
        ("/api/%zz", "PATH_MALFORMED"),
        ("/api/%6", "PATH_MALFORMED"),
        ("/api/%", "PATH_MALFORMED"),
        ("/api/a/%ff", "a"),
        ("/api/", "FUNCTION_NOT_FOUND"),
        ("/api", "PATH_MALFORMED"),
        ("", "PATH_MALFORMED"),
        ("*", "PATH_MALFORMED"),
        ("http://x/api/a", "PATH_MALFORMED"),
        ("/api/a b", "PATH_MALFORMED"),
        ("/api/a?x y", "PATH_MALFORMED"),
        ("/api/a\r\nx: y", "PATH_MALFORMED"),
        ("/api/a#b", "PATH_MALFORMED"),
        ("/api/ü", "PATH_MALFORMED"),
        ("/secret", "PATH_MALFORMED"),
    ],
)
def test_nothing_odd_reaches_another_function(target: str, expected: str) -> None:
    assert found(table(route("a"), route("a/b"), route("secret")), target) == expected


@given(st.lists(PATH, max_size=12, unique_by=tuple), PATH)
def test_as_a_plain_search_would_find_it(paths: list[list[str]], asked: list[str]) -> None:
    routes = table(*(route("/".join(path)) for path in paths))
    target = "/api/" + "/".join(quote(segment, safe="") for segment in asked)
    fitting = [path for path in paths if asked[: len(path)] == path]
    expected = "/".join(max(fitting, key=len)) if fitting else "FUNCTION_NOT_FOUND"
    assert found(routes, target) == expected


@given(st.text(max_size=40))
def test_any_target_is_answered_or_refused(target: str) -> None:
    routes = table(route("a"), route("a/b"))
    for one in (target, "/api/" + target, "/api/a/" + target):
        try:
            routes.find(one, "GET")
        except (InvalidArgument, NotFound):
            continue


@given(st.text(max_size=12))
def test_a_segment_is_decoded_once(text: str) -> None:
    expected = None if "\0" in text else "" if "/" in text else text
    assert decode_segment(quote(text, safe="")) == expected


def test_the_method_chooses_between_functions_at_one_path() -> None:
    routes = table(route("a", "fn-r", "GET"), route("a", "fn-w", "POST PUT"), route("b"))
    assert routes.find("/api/a", "GET").uid == "fn-r"
    assert routes.find("/api/a", "HEAD").uid == "fn-r"
    assert routes.find("/api/a", "PUT").uid == "fn-w"
    assert routes.find("/api/b", "PURGE").uid == "fn-b"
    for method in ("DELETE", "OPTIONS", "get"):
        with pytest.raises(MethodNotAllowed) as refused:
            routes.find("/api/a", method)
        assert refused.value.allow == "GET, HEAD, POST, PUT"


def test_a_function_moves_and_goes() -> None:
    routes = table(route("a/b", "fn-1"), route("a/b/c", "fn-2"))
    routes.put(route("x/y", "fn-1", version=2))
    assert found(routes, "/api/a/b") == "FUNCTION_NOT_FOUND"
    assert found(routes, "/api/a/b/c") == "a/b/c"
    assert found(routes, "/api/x/y") == "x/y"
    routes.put(route("old", "fn-1", version=1))
    assert found(routes, "/api/old") == "FUNCTION_NOT_FOUND"
    routes.remove("fn-1")
    routes.remove("fn-1")
    routes.remove("fn-2")
    assert (len(routes), routes._root.children) == (0, {})


def test_names_in_either_form() -> None:
    routes = table(route("a", "fn-1"))
    renamed = Route(
        **{**{f: getattr(route("a", "fn-1"), f) for f in Route.__slots__}, "display_name": "b", "version": 2}
    )
    assert routes.named("default", "fn-1") is routes.named("ws-1", "fn-1") is routes.get("fn-1")
    routes.put(renamed)
    assert routes.named("default", "b") is renamed
    assert routes.named("default", "a") is None


def test_a_name_taken_over_by_another_function_stays_with_it() -> None:
    routes = table()
    first, second = route("a", "fn-1"), route("b", "fn-2")
    same = {f: getattr(second, f) for f in Route.__slots__} | {"display_name": "fn-1"}
    routes.put(first)
    routes.put(Route(**same))
    routes.remove("fn-1")
    taken = routes.named("default", "fn-1")
    assert taken is not None and taken.uid == "fn-2"


def test_before_the_functions_are_known_nothing_is_a_404() -> None:
    routes = RouteTable()
    with pytest.raises(Unavailable) as early:
        routes.find("/api/a", "GET")
    assert early.value.retry_after_s


def test_all_at_once() -> None:
    routes = table(route("a"))
    routes.replace_all([route("b"), route("c")])
    assert [found(routes, f"/api/{path}") for path in "abc"] == ["FUNCTION_NOT_FOUND", "b", "c"]
    assert sorted(routes.uids()) == ["fn-b", "fn-c"]


def test_the_cost_of_a_lookup_does_not_grow_with_the_functions() -> None:
    def lines_run(routes: RouteTable, target: str) -> int:
        """Lines of Python that a lookup runs: a cost that does not depend on the machine."""
        count = 0

        def tracer(*_: object) -> Any:
            nonlocal count
            count += 1
            return tracer

        before = sys.gettrace()
        gc.disable()  # what it would run is none of the lookup's lines
        sys.settrace(tracer)
        try:
            routes.find(target, "GET")
        finally:
            sys.settrace(before)
            gc.enable()
        return count

    few = table(*(route(f"team/{n}") for n in range(10)))
    many = table(*(route(f"team/{n}") for n in range(10_000)))
    assert lines_run(many, "/api/team/7/x") == lines_run(few, "/api/team/7/x")
