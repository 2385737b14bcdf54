"""The REST facade as an ASGI application: what this is, whether it is well, and its documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from gateway.rest import (
    callbacks,
    deployments,
    functions,
    jobs,
    observability,
    problems,
    scrape,
    task_views,
    tasks,
    workspaces,
)
from gateway.rest.caller import Channels
from gateway.rest.codes import CodeCache
from gateway.rest.middleware import Authenticated, Limited, Traced
from gateway.rest.multipart import FORM
from gateway.rest.observing import Observing
from gateway.rest.pages import docs_page, welcome_page
from mesh.auth import Authenticator

BODY_BYTES = 16 * 1024 * 1024
"""Largest body that is read whole."""
_ALL_BYTES = 16 * BODY_BYTES
_AREAS = (callbacks, workspaces, functions, jobs, tasks, deployments, observability, scrape)


class Health(BaseModel):
    """Whether every service of the mesh has a member."""

    status: Literal["ok", "degraded"]
    version: str
    missing: list[str] = Field(default_factory=list, description="Services that nobody serves now.")


class About(BaseModel):
    """What answers here."""

    name: str
    version: str
    functions: str = Field(description="Where functions answer.")
    docs: str
    openapi: str
    health: str


def rest_facade(
    version: str,
    missing: Callable[[], tuple[str, ...]],
    channels: Channels,
    *,
    auth: Authenticator,
    origins: Sequence[str] = (),
    observing: Observing | None = None,
    blob_url: str = "",
    namespaces: Sequence[str] = ("default",),
) -> FastAPI:
    """The application. `missing` names the services that have no member, `auth` says who calls; pages of `origins` may
    call it. `blob_url` is where sources and artifacts are, `namespaces` are those that can be deployed to on this
    machine.
    """
    app = FastAPI(
        title="fnmesh",
        version=version,
        description="A self-hosted Function-as-a-Service platform. Functions answer below /api/.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.channels = channels
    app.state.codes = CodeCache()
    app.state.missing = missing
    app.state.observing = observing or Observing()
    app.state.places = task_views.Places(blob_url)
    app.state.namespaces = frozenset(namespaces)
    problems.install(app)
    for area in _AREAS:
        app.include_router(area.router)
    app.add_middleware(Limited, max_bytes=BODY_BYTES, all_bytes=_ALL_BYTES, streamed=_streamed())
    app.add_middleware(Authenticated, auth=auth)
    app.add_middleware(Traced)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-trace-id"],
        )
    about = About(
        name="fnmesh",
        version=version,
        functions="/api/<path>",
        docs="/docs",
        openapi="/openapi.json",
        health="/health",
    )

    @app.get("/health", response_model=Health, responses={503: {"model": Health}}, summary="Is the mesh well?")
    async def health() -> JSONResponse:
        gone = list(missing())
        body = Health(status="degraded" if gone else "ok", version=version, missing=gone)
        headers = {"retry-after": "1"} if gone else None
        return JSONResponse(body.model_dump(), status_code=503 if gone else 200, headers=headers)

    @app.get("/", response_model=About, summary="What is this?")
    async def root(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(welcome_page(version))
        return JSONResponse(about.model_dump())

    @app.get("/docs", include_in_schema=False)
    @app.get("/redoc", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    return app


def _streamed() -> frozenset[str]:
    """The paths that say they take a form with a file in it: those are read as they come."""
    return frozenset(
        route.path
        for area in _AREAS
        for route in area.router.routes
        if isinstance(route, APIRoute) and FORM in (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
    )
