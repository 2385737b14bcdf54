"""What REST shows of a source, and what it may pack again of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.registry.v1 import function_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest import sources
from gateway.rest.caller import Caller
from gateway.rest.codes import Code, CodeCache
from mesh.errors import FailedPrecondition
from tests.support.errors_page import answers

FUNCTION = function_pb2.Function(name="workspaces/w/functions/f", display_name="hello", source_digest="sha256:1")
HANDLER = "def handler(event): return 1"
PAGE = answers("Control calls and keys")
PIECE = bytes(1024 * 1024)


class Services:
    """One function with one source; `sent` says how much of it was asked for."""

    def __init__(self, filename: str, content: bytes, *, times: int = 1) -> None:
        self.build = self.registry = self
        self.codes = CodeCache()
        self.now = FUNCTION.source_digest
        self.calls = self.sent = 0
        self._filename, self._content, self._times = filename, content, times

    async def GetSource(self, request: build_pb.GetSourceRequest) -> AsyncIterator[build_pb.GetSourceResponse]:
        assert request.function == FUNCTION.name
        self.calls += 1
        yield build_pb.GetSourceResponse(filename=self._filename)
        for _ in range(self._times):
            self.sent += len(self._content)
            yield build_pb.GetSourceResponse(chunk=self._content)

    async def GetFunction(self, request: registry_pb.GetFunctionRequest) -> function_pb2.Function:
        return function_pb2.Function(name=request.name, source_digest=self.now)

    @property
    def caller(self) -> Caller:
        return cast("Caller", cast("Any", self))


def packed(**files: str | bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return target.getvalue()


def damaged() -> bytes:
    return packed(**{"handler.py": HANDLER}).replace(HANDLER.encode(), HANDLER.replace("1", "2").encode())


@pytest.mark.parametrize(
    ("filename", "content", "shown"),
    [
        ("hello.py", HANDLER.encode(), Code(HANDLER)),
        ("a.zip", packed(**{"handler.py": HANDLER}), Code(HANDLER)),
        ("a.zip", packed(**{"app.py": HANDLER, "requirements.txt": "x"}), Code(HANDLER, "x")),
        ("a.zip", packed(**{"hello.js": "//"}), Code("//")),
        ("a.zip", packed(**{"index.js": "//", "package.json": "{}"}), Code("//", "{}")),
    ],
)
async def test_a_file_of_code_and_its_libraries_are_a_whole(filename: str, content: bytes, shown: Code) -> None:
    services = Services(filename, content)

    assert await sources.read(services.caller, FUNCTION) == shown
    assert await sources.changed(services.caller, FUNCTION, None, "y") == (shown.code, "y")
    assert await sources.changed(services.caller, FUNCTION, "new", None) == ("new", shown.library)


@pytest.mark.parametrize(
    ("filename", "content", "code"),
    [
        ("a.zip", packed(**{"handler.py": HANDLER, "more.py": ""}), HANDLER),
        ("a.zip", packed(**{"handler.py": HANDLER, "requirements.txt": "", "package.json": ""}), HANDLER),
        ("a.zip", packed(**{"top/handler.py": HANDLER}), ""),
        ("a.zip", packed(**{"app.py": HANDLER, "spin.toml": ""}), HANDLER),
        ("a.zip", packed(**{"handler.py": "#" * (sources.CODE_BYTES + 1)}), "#" * sources.CODE_BYTES),
        ("a.zip", packed(**{"handler.py": b"# \xff"}), "# \ufffd"),
        ("a.zip", packed(**{"requirements.txt": "x"}), ""),
        ("a.zip", damaged(), ""),
        ("app.wasm", b"\0asm\xff", "\0asm\ufffd"),
    ],
)
async def test_of_what_is_more_than_that_nothing_is_taken(filename: str, content: bytes, code: str) -> None:
    services = Services(filename, content)

    assert (await sources.read(services.caller, FUNCTION)).code == code
    for given in ((None, None), (HANDLER, None), (None, "")):
        with pytest.raises(FailedPrecondition) as raised:
            await sources.changed(services.caller, FUNCTION, *given)
        assert raised.value.reason == "SOURCE_HAS_MORE_FILES"
        assert raised.value.message == PAGE["a change of code, library or type over REST, of a source with more files"]
    assert await sources.changed(services.caller, FUNCTION, HANDLER, "") == (HANDLER, "")


async def test_a_large_source_is_not_read_to_its_end() -> None:
    services = Services("a.zip", PIECE, times=200)

    for _ in range(2):
        assert await sources.read(services.caller, FUNCTION) == Code(is_whole=False)

    assert (services.calls, services.sent) == (1, sources.READ_BYTES + len(PIECE))


@pytest.mark.parametrize("filename", ["hello.py", "a.zip"])
async def test_a_source_is_fetched_once(filename: str) -> None:
    content = HANDLER.encode() if filename == "hello.py" else packed(**{"handler.py": HANDLER})
    services = Services(filename, content)

    for _ in range(3):
        assert await sources.read(services.caller, FUNCTION) == Code(HANDLER)

    assert services.calls == 1


async def test_what_was_uploaded_meanwhile_is_not_remembered_as_what_was_there() -> None:
    services = Services("hello.py", HANDLER.encode())
    services.now = "sha256:2"

    for _ in range(2):
        assert await sources.read(services.caller, FUNCTION) == Code(HANDLER)

    assert services.calls == 2


async def test_libraries_of_nothing_are_refused() -> None:
    services = Services("", b"")

    with pytest.raises(FailedPrecondition) as raised:
        await sources.changed(services.caller, function_pb2.Function(display_name="hello"), None, "requests")

    assert raised.value.reason == "SOURCE_MISSING"
    assert raised.value.message == PAGE["a library over REST, for a function without code"]
