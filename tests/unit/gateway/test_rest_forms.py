"""Forms with a file, read as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from gateway.rest import multipart, problems

BOUNDARY = "a-boundary"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    problems.install(app)
    app.state.pieces = []

    @app.post("/form")
    async def form(request: Request) -> dict[str, object]:
        async def keep(filename: str, content: AsyncIterator[bytes]) -> str:
            async for piece in content:
                app.state.pieces.append(piece)
            return filename

        found = await multipart.read(request, "file", keep)
        return {"fields": found.fields, "file": found.file}

    return app


async def sent(app: FastAPI, body: bytes | AsyncIterator[bytes], kind: str = KIND) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://form") as client:
        return await client.post("/form", content=body, headers={"content-type": kind})


@pytest.mark.parametrize("file_first", [True, False])
async def test_fields_and_file_in_any_order(app: FastAPI, file_first: bool) -> None:
    content = bytes(range(256)) * 4096 + b"\r\n--a-boundar"
    parts = [part("file", content, "app.py"), part("workspace_id", "wörk".encode()), part("empty", b"")]

    answer = await sent(app, b"".join(parts if file_first else parts[::-1]) + END)

    assert answer.json() == {"fields": {"workspace_id": "wörk", "empty": ""}, "file": "app.py"}
    assert b"".join(app.state.pieces) == content


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_pieces_may_be_cut_anywhere(app: FastAPI, size: int) -> None:
    body = part("a", b"1") + part("file", b"content", "x.zip") + part("b", b"2") + END

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    answer = await sent(app, pieces())

    assert answer.json() == {"fields": {"a": "1", "b": "2"}, "file": "x.zip"}
    assert b"".join(app.state.pieces) == b"content"


async def test_the_file_is_passed_on_before_the_form_has_ended(app: FastAPI) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield part("file", b"first", "app.py")[:-2]
        yield b" second"
        assert b"".join(app.state.pieces).startswith(b"firs")
        yield b"\r\n" + END

    assert (await sent(app, pieces())).status_code == 200
    assert b"".join(app.state.pieces) == b"first second"


async def test_a_file_without_a_name_is_a_field(app: FastAPI) -> None:
    answer = await sent(app, part("file", b"text") + END)

    assert answer.json() == {"fields": {"file": "text"}, "file": None}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"", "multipart/form-data", 415),
        (b"", "", 415),
        (b"no form", KIND, 400),
        (part("file", b"never ends", "app.py")[:-4], KIND, 400),
        (part("a", b"\xff") + END, KIND, 400),
        (part("file", b"1", "a.py") + part("file", b"2", "b.py") + END, KIND, 400),
        (b"".join(part(f"f{number}", b"") for number in range(60)) + END, KIND, 400),
        (part("a", b"x" * 70_000) + END, KIND, 413),
        (b"--a-boundary\r\n" + b"x: " + b"y" * 10_000, KIND, 400),
    ],
)
async def test_what_is_no_form_is_refused(app: FastAPI, body: bytes, kind: str, status: int) -> None:
    answer = await sent(app, body, kind)

    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["detail"], str)
