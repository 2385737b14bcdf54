"""What a function answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fnmesh.client.errors import HandlerFailed
from fnmesh.invoke.v1 import invoke_service_pb2


@dataclass(frozen=True)
class Answer:
    """The answer of a direct invoke: status and headers that the handler chose, and its body."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    trace_id: str
    execution: str
    duration_s: float
    message: invoke_service_pb2.InvokeResponse

    @classmethod
    def of(cls, response: invoke_service_pb2.InvokeResponse) -> Answer:
        return cls(
            status=response.status_code,
            body=response.payload,
            headers=tuple((header.name, header.value) for header in response.headers),
            trace_id=response.trace_id,
            execution=response.execution,
            duration_s=response.duration.ToTimedelta().total_seconds(),
            message=response,
        )

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as the JSON value it is. Raises ValueError where it is none."""
        return json.loads(self.body)

    def raise_for_status(self) -> Answer:
        """This answer, or HandlerFailed where its status is 400 or more."""
        if self.status >= 400:
            raise HandlerFailed(self)
        return self
