"""Pages of other origins, through a real Envoy: those that the operator allows may call, and nobody else's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.support.door import Answer, Door, open_door

pytestmark = pytest.mark.asyncio(loop_scope="module")
ALLOWED, OTHER = "https://app.example.org", "https://evil.example"
ASKING = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_to_pages() -> AsyncIterator[Door]:
    run_dir = Path(tempfile.mkdtemp(prefix="fnm-", dir="/tmp"))
    try:
        async with open_door(run_dir, gateway_allowed_origins=f"{ALLOWED}, https://second.example.org") as door:
            yield door
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module")
async def http(open_to_pages: Door) -> AsyncIterator[httpx.AsyncClient]:
    async with open_to_pages.client() as client:
        yield client


def _cors(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("path", ["/api/workspaces", "/callbacks/", "/api/jobs", "/deploy/", "/health"])
async def test_a_browser_asks_first_and_is_told(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.options(path, headers={"origin": ALLOWED, **ASKING})

    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == ALLOWED
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert {"authorization", "content-type"} <= set(answer.headers["access-control-allow-headers"].lower().split(","))
    assert "origin" in answer.headers["vary"].lower()


async def test_answers_and_errors_may_be_read_by_that_page(http: httpx.AsyncClient) -> None:
    for path, status in {"/health": 200, "/api/workspaces/-/nothing": 404, "/api/jobs/x": 422, "/deploy/": 405}.items():
        answer = await http.get(path, headers={"origin": ALLOWED})

        assert answer.status_code == status, path
        assert answer.headers["access-control-allow-origin"] == ALLOWED
        assert answer.headers["access-control-expose-headers"] == "x-trace-id"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [OTHER, "null", "https://app.example.org.evil.example", "http://app.example.org"])
async def test_other_pages_are_refused_before_anything_happens(http: httpx.AsyncClient, origin: str) -> None:
    for method, more in (("OPTIONS", ASKING), ("POST", {}), ("GET", {})):
        answer = await http.request(method, "/api/workspaces", headers={"origin": origin, **more})

        assert (answer.status_code, answer.json()["reason"]) == (403, "ORIGIN_NOT_ALLOWED")
        assert not _cors(answer)


async def test_what_is_no_page_gets_no_such_headers(http: httpx.AsyncClient, open_to_pages: Door) -> None:
    assert not _cors(await http.get("/health"))
    own = await http.get("/health", headers={"origin": open_to_pages.url})
    assert own.status_code == 200


async def test_a_function_answers_pages_by_itself(http: httpx.AsyncClient, open_to_pages: Door) -> None:
    open_to_pages.invoke.respond = lambda seen: Answer(204, headers=[("access-control-allow-origin", "*")], chunks=())

    answer = await http.options("/api/mine", headers={"origin": OTHER, **ASKING})

    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert open_to_pages.invoke.seen[-1].method == "OPTIONS"
