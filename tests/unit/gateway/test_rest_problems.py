"""What REST answers where something in the mesh is wrong."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from gateway.rest import problems


async def test_no_other_request_is_sent_on_the_connection_of_an_error_that_nobody_foresaw(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def fail() -> None:
        raise RuntimeError("a bug")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.get("/")

    assert (answer.status_code, answer.json()["reason"]) == (500, "INTERNAL")
    assert answer.headers["connection"] == "close"
    assert "a bug" not in answer.text
