"""Clients that run functions, over HTTP and over gRPC: each request carries a nonce that its answer must have."""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from collections.abc import Sequence

import httpx

from fnmesh.client import AsyncMesh
from fnmesh.client.errors import RpcFailed
from tests.chaos.actors import NO_ANSWER
from tests.chaos.ledger import Ledger, calls_of

_EXCUSABLE = (502, 503, 504)
_PAUSE_S = 0.02


async def call(http: httpx.AsyncClient, ledger: Ledger, function: str, takes_s: float = 0.0) -> bool:
    """One request to a function that takes so long; whether it was answered well. Written down."""
    nonce, began = secrets.token_hex(6), ledger.now()
    kind, what = calls_of(function), f"GET /api/{function}"
    try:
        answer = await http.get(f"/api/{function}", params={"n": nonce, "s": str(takes_s)})
    except httpx.HTTPError as error:
        ledger.failed(kind, what, f"{type(error).__name__} {error}", began)
        return False
    if answer.status_code != 200:
        excusable = answer.status_code in _EXCUSABLE
        ledger.failed(kind, what, f"{answer.status_code} {_without_trace(answer.text)}", began, excusable=excusable)
        return False
    if answer.json().get("n") != nonce:
        ledger.failed(kind, what, f"the answer of another request: {answer.text[:300]}", began, excusable=False)
        return False
    ledger.answered[kind] += 1
    return True


def _without_trace(text: str) -> str:
    """What an error says, the same for every request that it is said to."""
    return re.sub(r'.?"trace_id":"\w*"', "", text.strip())[:300]


async def invoke(client: AsyncMesh, ledger: Ledger, function: str) -> bool:
    """One direct invoke over gRPC; whether it was answered well. Written down."""
    nonce, began = secrets.token_hex(6), ledger.now()
    kind, what = calls_of(function), f"Invoke {function}"
    try:
        answer = await client.invoke(function, {"n": nonce})
    except RpcFailed as error:
        excusable = isinstance(error, NO_ANSWER) or error.reason == "WORKLOAD_CLOSED"
        ledger.failed(kind, what, f"{error.code.name} {error}", began, excusable=excusable)
        return False
    if answer.status != 200 or answer.json().get("n") != nonce:
        ledger.failed(kind, what, f"{answer.status} {answer.text[:300]}", began, excusable=False)
        return False
    ledger.answered[kind] += 1
    return True


async def keep_calling(
    http: httpx.AsyncClient, ledger: Ledger, functions: Sequence[str], rng: random.Random, stop: asyncio.Event
) -> None:
    """Requests to any of the functions, one after the other, until told to stop; some take a while."""
    while not stop.is_set():
        await call(http, ledger, rng.choice(functions), takes_s=rng.choice((0, 0, 0, 0.05, 0.4)))
        await asyncio.sleep(_PAUSE_S)


async def keep_invoking(
    client: AsyncMesh, ledger: Ledger, functions: Sequence[str], rng: random.Random, stop: asyncio.Event
) -> None:
    """Direct invokes of any of the functions, until told to stop."""
    while not stop.is_set():
        await invoke(client, ledger, rng.choice(functions))
        await asyncio.sleep(2 * _PAUSE_S)
