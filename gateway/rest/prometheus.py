"""Metrics of functions from the Prometheus that scrapes this mesh."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from gateway.rest.observability_models import Latency, Metrics, Sample, Series
from mesh.clock import Clock
from mesh.errors import Unavailable
from mesh.http_client import HttpServer

WINDOW_S = 3600
_STEP_S = 60
T = TypeVar("T")


class Prometheus:
    """Reads over the HTTP API. `max(...)` is for meshes that are scraped more than once."""

    def __init__(self, server: HttpServer, clock: Clock, *, timeout_s: float) -> None:
        self._server = server
        self._clock = clock
        self._timeout_s = timeout_s

    async def metrics(self, function_id: str) -> Metrics:
        """Of the last hour. Raises Unavailable."""
        of = f'{{function_id="{function_id}"}}'
        rate = f"sum by (le) (rate(fnmesh_function_duration_seconds_bucket{of}[1h]))"
        series, numbers = await asyncio.gather(
            _all(self._series(f"max(fnmesh_function_{name}{of})") for name in ("cpus", "memory_bytes")),
            _all(
                [
                    self._value(f"max(increase(fnmesh_function_invocations_total{of}[1h]))"),
                    self._value(f"max(increase(fnmesh_function_errors_total{of}[1h]))"),
                    *(self._value(f"histogram_quantile({quantile}, {rate})") for quantile in (0.5, 0.95, 0.99)),
                ]
            ),
        )
        return Metrics(
            function_id=function_id,
            cpu=series[0],
            memory=series[1],
            invocations=round(numbers[0]),
            errors=round(numbers[1]),
            latency_ms=Latency(p50=numbers[2] * 1000, p95=numbers[3] * 1000, p99=numbers[4] * 1000),
            source="prometheus",
        )

    async def _series(self, query: str) -> Series:
        end = int(self._clock.now().timestamp()) // _STEP_S * _STEP_S
        times = {"start": str(end - WINDOW_S + _STEP_S), "end": str(end), "step": str(_STEP_S)}
        result = await self._ask("query_range", {"query": query, **times})
        samples = [
            Sample(timestamp=_time(at), value=_number(value)) for one in result[:1] for at, value in one["values"]
        ]
        return Series(current=await self._value(query), series=samples)

    async def _value(self, query: str) -> float:
        result = await self._ask("query", {"query": query, "time": str(self._clock.now().timestamp())})
        return _number(result[0]["value"][1]) if result else 0.0

    async def _ask(self, what: str, question: dict[str, str]) -> list[Any]:
        path = f"/api/v1/{what}?{urlencode(question)}"
        answer = await self._server.call(path, timeout_s=self._timeout_s)
        if answer.status != 200:
            raise Unavailable("PROMETHEUS_FAILED", f"answered {answer.status}")
        try:
            found = json.loads(answer.body)["data"]["result"]
            assert isinstance(found, list)
        except (ValueError, KeyError, TypeError, AssertionError):
            raise Unavailable("PROMETHEUS_FAILED", "answered something else than metrics") from None
        return found


async def _all(calls: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them answer; waits for all, then raises what one of them raised."""
    found = await asyncio.gather(*calls, return_exceptions=True)
    answers = [one for one in found if not isinstance(one, BaseException)]
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return answers


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else 0.0


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
