"""What may be said of a function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from registry_svc import rules
from registry_svc.domain import Limits, Scaling

SEGMENT = st.text("abcXYZ019._~!$&'()*+,;=:@-", min_size=1, max_size=20).filter(lambda text: text not in (".", ".."))


@given(st.lists(SEGMENT, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_good_paths_have_one_form(segments: list[str], leading: bool, trailing: bool) -> None:
    path = "/".join(segments)
    if segments[0] in rules.RESERVED_SEGMENTS:
        return
    assert rules.function_path("/" * leading + path + "/" * trailing) == path


@given(st.text(max_size=300))
def test_an_accepted_path_is_safe_and_stable(text: str) -> None:
    try:
        path = rules.function_path(text)
    except InvalidArgument as error:
        assert error.reason in ("PATH_INVALID", "PATH_RESERVED")
        return
    assert path == rules.function_path(path)
    assert path.isascii() and len(path) <= 255
    segments = path.split("/")
    assert all(segments) and not {".", ".."} & set(segments)
    assert not set(path) & set(' %?#\\"<>{}|^`')


@pytest.mark.parametrize(
    "path", ["", "/", "//", "a//b", "..", "a/../b", "./a", "a b", "ä", "a%2e", "a?b", "x" * 256, "a\n", "a\\b"]
)
def test_bad_paths(path: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        rules.function_path(path)
    assert refused.value.reason == "PATH_INVALID"


@pytest.mark.parametrize("first", sorted(rules.RESERVED_SEGMENTS))
def test_reserved_first_segments(first: str) -> None:
    for path in (first, f"/{first}/x"):
        with pytest.raises(InvalidArgument) as refused:
            rules.function_path(path)
        assert refused.value.reason == "PATH_RESERVED"
    assert rules.function_path(f"x/{first}")
    assert rules.function_path(f"{first}2")


@pytest.mark.parametrize("name", ["", "A", "fn-x", "a b", "ä", "-", "-a", "a" * 64, "a\n", "a/b"])
def test_bad_function_names(name: str) -> None:
    with pytest.raises(InvalidArgument):
        rules.function_name(name)


@pytest.mark.parametrize("name", ["", "A", "ws-x", "a_b", "-", "a" * 64])
def test_bad_workspace_names(name: str) -> None:
    with pytest.raises(InvalidArgument):
        rules.workspace_name(name)


def test_methods_are_upper_case_once_and_sorted() -> None:
    assert rules.http_methods(["post", "GET", "Post"]) == ("GET", "POST")
    for wrong in ("", "G T", "ſ", "GET/", "1GET"):
        with pytest.raises(InvalidArgument):
            rules.http_methods([wrong])


def test_masked_values_keep_what_is_stored() -> None:
    assert rules.env({"A": "****", "B": "2"}, {"A": "1", "C": "3"}) == {"A": "1", "B": "2"}
    with pytest.raises(InvalidArgument):
        rules.env({"B": "****"}, {"A": "1"})


@pytest.mark.parametrize("key", ["", "1A", "A-B", "A B", "Ä", "A=B", "A\n"])
def test_bad_env_keys(key: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        rules.env({key: "x"}, {})
    assert refused.value.reason == "ENV_INVALID"


def test_the_size_of_env_counts_bytes_of_keys_and_values() -> None:
    assert rules.env({"A": "x" * (64 * 1024 - 1)}, {})
    for value in ("x" * 64 * 1024, "ä" * 33 * 1024, "\0"):
        with pytest.raises(InvalidArgument):
            rules.env({"A": value}, {})


def test_limits_have_defaults_and_ranges() -> None:
    assert rules.limits(0, 0, 0, 0) == Limits()
    assert rules.limits(16 * rules.MEBIBYTE, 10, 1, 1000).concurrency == 1000
    for wrong in ((1, 0, 0, 0), (0, 9, 0, 0), (0, 0, 15 * 60_000 + 1, 0), (0, 0, 0, 1001), (-1, 0, 0, 0)):
        with pytest.raises(InvalidArgument):
            rules.limits(*wrong)


def test_scaling_has_defaults_and_ranges() -> None:
    assert rules.scaling(None, 0) == Scaling(1, 1)
    assert rules.scaling(0, 0) == Scaling(0, 1)
    assert rules.scaling(7, 0) == Scaling(7, 7)
    for wrong in ((-1, 0), (101, 0), (None, 101), (3, 2), (None, -1)):
        with pytest.raises(InvalidArgument):
            rules.scaling(*wrong)


@pytest.mark.parametrize("handler", ["handler", "app.handle", "$x", ""])
def test_handlers(handler: str) -> None:
    assert rules.handler(handler) == (handler or "handler")


@pytest.mark.parametrize("handler", ["a b", "1a", "a..b", ".a", "a()", "x" * 129])
def test_bad_handlers(handler: str) -> None:
    with pytest.raises(InvalidArgument):
        rules.handler(handler)
