"""What words of older clients mean."""

from __future__ import annotations

import pytest

from fnmesh.registry.v1 import function_pb2
from gateway.rest.convert import runtime_of
from mesh.errors import InvalidArgument


@pytest.mark.parametrize(
    ("word", "runtime"),
    [
        ("python3.12", function_pb2.RUNTIME_PYTHON),
        ("nodejs20.x", function_pb2.RUNTIME_NODE),
        ("Spin", function_pb2.RUNTIME_SPIN),
        ("wasm", function_pb2.RUNTIME_SPIN),
    ],
)
def test_a_runtime_by_its_word(word: str, runtime: int) -> None:
    assert runtime_of(word) == runtime


def test_a_word_that_is_no_runtime_is_told_which_are() -> None:
    with pytest.raises(InvalidArgument, match=r"^'ruby' is no runtime; use python, node or spin\.$"):
        runtime_of("ruby")
