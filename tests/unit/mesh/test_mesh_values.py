"""Errors, identifiers, names, page tokens, clocks, deadlines."""

from __future__ import annotations

import uuid

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import deadline, errors, ids, names, pages
from mesh.clock import FakeClock
from mesh.errors import InvalidArgument, MeshError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MeshError)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not MeshError])
def test_errors_survive_the_wire(kind: type[MeshError]) -> None:
    error = kind("SOME_REASON", "A sentence.", fields={"a.b": "is wrong"}, retry_after_s=0.25, name="x", n=3)
    back = errors.from_status(errors.to_status(error))
    assert type(back) is kind
    assert vars(back) == vars(error)
    assert errors.http_status(back) == kind.http
    assert errors.error_body(back, "t") == {
        "detail": "A sentence.",
        "code": kind.code.name,
        "reason": "SOME_REASON",
        "trace_id": "t",
    }


def test_a_status_without_details_has_the_code_as_reason() -> None:
    call = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="down")
    error = errors.from_rpc_error(call)
    assert (type(error), error.reason, error.message) == (errors.Unavailable, "UNAVAILABLE", "down")


def test_a_call_that_the_other_side_cancelled_may_be_tried_again() -> None:
    call = grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata(), "CANCELLED")
    error = errors.from_rpc_error(call)
    assert (type(error), error.reason) == (errors.Unavailable, "STOPPED")


def test_sortable_ids_sort_by_time() -> None:
    made = [ids.new_sortable_id() for _ in range(5000)]
    assert made == sorted(set(made))
    assert {uuid.UUID(one).version for one in made} == {7}


def test_ids_have_their_prefix() -> None:
    assert names.matches(names.FUNCTION, f"workspaces/{ids.new_id('ws-')}/functions/{ids.new_id('fn-')}")
    assert len(ids.new_id("fn-")) == 15


def test_names_are_parsed_and_formatted() -> None:
    assert names.parse(names.REVISION, "workspaces/a/functions/b/revisions/3") == ("a", "b", "3")
    assert names.format_name(names.REVISION, "a", "b", 3) == "workspaces/a/functions/b/revisions/3"
    assert names.parent("workspaces/a/functions/b") == "workspaces/a"
    with pytest.raises(ValueError, match="too many"):
        names.format_name(names.WORKSPACE, "a", "b")


@pytest.mark.parametrize(
    "name", ["", "workspaces/", "workspaces/a/", "workspaces/a b", "workspaces/a/functions/b", "functions/a"]
)
def test_wrong_names_say_what_is_wanted(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"workspaces/\{workspace\}") as refused:
        names.parse(names.WORKSPACE, name, field="parent")
    assert list(refused.value.fields) == ["parent"]


PARTS = st.one_of(
    st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=100), st.integers(1 - 2**63, 2**63 - 1)
)


@given(st.text(), st.lists(PARTS, max_size=4))
def test_page_tokens_come_back(query: str, position: list[str | int]) -> None:
    token = pages.encode_token(query, position)
    assert pages.decode_token(query, token) == position
    with pytest.raises(InvalidArgument):
        pages.decode_token(query + "x", token)


@given(st.text(min_size=1))
def test_wrong_page_tokens_are_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        pages.decode_token("q", token)


@pytest.mark.parametrize(
    "position", [[], ["a"], [1, 1], ["a", "1"], ["a", True], ["a\0", 1], ["\ud800", 1], ["a", 2**63], ["a" * 513, 1]]
)
def test_made_up_page_tokens_are_refused(position: list[str | int]) -> None:
    token = pages.encode_token("q", position)
    with pytest.raises(InvalidArgument, match="page_token is not one that the same listing gave"):
        pages.decode_token("q", token, (str, int))


def test_page_sizes() -> None:
    assert [pages.page_size(asked) for asked in (0, 7, 5000)] == [100, 7, 1000]
    with pytest.raises(InvalidArgument):
        pages.page_size(-1)


def test_the_smaller_deadline_wins() -> None:
    assert deadline.bounded(5) == 5
    deadline.set_remaining(2)
    assert (deadline.bounded(5) or 0) <= 2 and deadline.bounded(1) == 1
    with deadline.detached():
        assert deadline.bounded(None) is None
    deadline.set_remaining(-1)
    assert deadline.remaining_s() == 0
    deadline.set_remaining(None)


def test_a_fake_clock_moves_when_told() -> None:
    clock = FakeClock()
    before = clock.now(), clock.monotonic()
    clock.advance(2.5)
    assert (clock.now() - before[0]).total_seconds() == clock.monotonic() - before[1] == 2.5
