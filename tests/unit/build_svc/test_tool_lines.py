"""What is made of the lines of tools: cut, kept, and told where a tool failed."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from build_svc.docker_images import BuiltImages, CommandFailed
from build_svc.domain import LINE_BYTES_MAX
from build_svc.installers import tool_error
from build_svc.lines import LastLines, Splitter, killed, nowhere
from build_svc.recipe import Layer
from tests.support import errors_page

SECRET = b"Looking in indexes: https://me:s3cret@index.example/simple"
LAYER = Layer((), (), "1000:1000", "/")


class _Daemon:
    """One whose containers write such lines, and end with status 1."""

    def __init__(self, *lines: bytes) -> None:
        self._lines = lines

    @asynccontextmanager
    async def container(self, plan: object) -> AsyncIterator[_Daemon]:
        yield self

    async def put(self, place: str, tar: object) -> None:
        return None

    async def run(self, on_line: Callable[[bytes], Awaitable[None]]) -> int:
        for line in self._lines:
            await on_line(line)
        return 1


async def _failed(*lines: bytes) -> CommandFailed:
    images = BuiltImages(cast(Any, _Daemon(*lines)))
    with pytest.raises(CommandFailed) as failed:
        await images.try_out("base", LAYER, {}, ["false"], name="x", extra={}, on_line=nowhere)
    return failed.value


async def test_what_a_container_wrote_is_told_without_passwords_and_cut() -> None:
    failed = await _failed(SECRET, b"x" * 10 * LINE_BYTES_MAX)

    assert failed.last[0] == "Looking in indexes: https://****@index.example/simple"
    assert len(failed.last[1].encode()) <= LINE_BYTES_MAX


async def test_the_last_lines_are_kept_and_all_are_passed_on() -> None:
    seen: list[bytes] = []

    async def see(line: bytes) -> None:
        seen.append(line)

    last = LastLines(see, count=2)
    for line in (b"a", SECRET, b"c"):
        await last(line)

    assert seen == [b"a", SECRET, b"c"]
    assert last.texts == ["Looking in indexes: https://****@index.example/simple", "c"]


async def test_a_stream_is_cut_into_lines_wherever_its_pieces_end() -> None:
    seen: list[bytes] = []

    async def see(line: bytes) -> None:
        seen.append(line)

    lines = Splitter(see)
    for piece in (b"on", b"e\ntwo\n\nth", b"ree"):
        await lines.feed(piece)
    await lines.end()
    await lines.end()

    assert seen == [b"one", b"two", b"", b"three"]


async def test_a_line_without_an_end_is_passed_on_in_parts() -> None:
    seen: list[bytes] = []

    async def see(line: bytes) -> None:
        seen.append(line)

    lines = Splitter(see)
    for _ in range(5):
        await lines.feed(b"x" * LINE_BYTES_MAX)
    await lines.end()

    assert [len(line) for line in seen] == [5 * LINE_BYTES_MAX]


def test_a_tool_that_was_killed_is_not_told_by_its_last_line_of_progress() -> None:
    progress = ["Collecting torch", "  Downloading torch-2.9.0-cp311-manylinux.whl (797.2 MB)"]

    told = tool_error("pip", progress, -signal.SIGKILL)
    assert told == errors_page.answers("The machine")["libraries whose installation the kernel kills"]
    assert "SIGSEGV" in tool_error("npm", progress, -signal.SIGSEGV)
    assert tool_error("pip", [*progress, "ERROR: No such wheel"], 1) == "ERROR: No such wheel"
    assert tool_error("npm", [], 3).startswith("npm ended with status 3")
    assert killed("pip", 1) == ""
    assert "signal 40" in killed("pip", -40)
