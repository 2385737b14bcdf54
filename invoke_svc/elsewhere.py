"""Direct invokes of functions that run elsewhere, at a URL that the mesh's operator allows."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from invoke_svc.domain import Run, queue_full, timed_out
from mesh.errors import ResourceExhausted, Unavailable
from mesh.http_client import HttpAnswer, HttpServer

CONTENT_TYPE = "application/json"
_AT_ONCE = 256
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "trailer", "proxy-authenticate"})


class Elsewhere:
    """POSTs payloads. Redirects are not followed: they could lead to what nobody allowed."""

    def __init__(self, answer_bytes: int) -> None:
        self._answer_bytes = answer_bytes
        self._running = 0

    async def call(self, url: str, payload: bytes, limit_s: float, run: Run) -> HttpAnswer:
        """What is answered there. Raises DeadlineExceeded, Unavailable, ResourceExhausted."""
        if self._running >= _AT_ONCE:
            raise queue_full()
        server = HttpServer(url, max_bytes=self._answer_bytes)
        self._running += 1
        try:
            async with asyncio.timeout(limit_s):
                path = "" if urlsplit(url).path.strip("/") else "/"
                answer = await server.call(path, payload, CONTENT_TYPE, timeout_s=limit_s + 1)
        except TimeoutError:
            raise timed_out(limit_s) from None
        except Unavailable as error:
            if error.reason == "ANSWER_TOO_LARGE":
                raise ResourceExhausted("ANSWER_TOO_LARGE", f"The function's endpoint {error.message}.") from None
            raise Unavailable(
                "ENDPOINT_UNAVAILABLE", f"The function's endpoint {error.message}.", retry_after_s=5
            ) from None
        finally:
            self._running -= 1
        run.status, run.response_bytes = answer.status, len(answer.body)
        if run.status >= 500:
            run.failed, run.error = True, f"STATUS_{run.status}: The function answered {run.status}."
        return answer


def headers_of(answer: HttpAnswer) -> list[tuple[str, str]]:
    """The headers of an answer that are about it, and not about its way here."""
    return [(name, value) for name, value in answer.headers.items() if name not in _HOP_BY_HOP]
