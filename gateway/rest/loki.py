"""Log lines from the Loki that this mesh sends them to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.rest import convert
from gateway.rest.observability_models import Line
from gateway.rest.observing import LineQuestion
from mesh.clock import Clock
from mesh.errors import Unavailable
from mesh.http_client import HttpServer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BACK = timedelta(days=7)
_LONGEST = timedelta(days=30)  # a Loki looks no further unless it is told to
_AHEAD = timedelta(minutes=1)  # clocks differ
_LABELS = frozenset({"function_id", "revision", "instance", "stream", "trace_id"})


class Loki:
    """Reads over `query_range`, only ever of one function."""

    def __init__(self, server: HttpServer, clock: Clock, *, timeout_s: float) -> None:
        self._server = server
        self._clock = clock
        self._timeout_s = timeout_s

    async def lines(self, question: LineQuestion) -> Sequence[Line]:
        """Newest first. Raises Unavailable."""
        now = self._clock.now() + _AHEAD
        end = min(question.end or now, now)
        start = max(question.start or end - _BACK, end - _LONGEST)
        if start >= end:
            return []
        asked = {
            "query": question.query.logql(f'{{function_id="{question.function_id}"}}'),
            "start": str(_ns(start)),
            "end": str(_ns(end)),
            "limit": str(question.limit),
            "direction": "backward",
        }
        answer = await self._server.call(f"/loki/api/v1/query_range?{urlencode(asked)}", timeout_s=self._timeout_s)
        if answer.status != 200:
            raise Unavailable("LOKI_FAILED", f"answered {answer.status}")
        try:
            found = [
                (int(at), str(text), {name: str(value) for name, value in stream["stream"].items() if name in _LABELS})
                for stream in json.loads(answer.body)["data"]["result"]
                for at, text, *_ in stream["values"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unavailable("LOKI_FAILED", "answered something else than log lines") from None
        found.sort(key=lambda one: one[0], reverse=True)
        workspace = {"workspace_id": question.workspace_id}
        return [
            Line(timestamp=_time(at), line=text, labels={**workspace, **labels})
            for at, text, labels in found[: question.limit]
        ]


def _ns(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def _time(at_ns: int) -> str:
    stamp = Timestamp()
    stamp.FromNanoseconds(at_ns)
    return convert.time_of(stamp)
