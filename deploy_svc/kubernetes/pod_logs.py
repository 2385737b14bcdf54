"""The logs of pods, followed through the API: read again from where they stopped whenever a stream breaks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from deploy_svc.kubernetes.clusters import Clusters
from deploy_svc.kubernetes.errors import wait_s
from deploy_svc.kubernetes.names import parse_handle
from deploy_svc.kubernetes.transport import Query
from deploy_svc.kubernetes.views import Pod
from deploy_svc.ports import OutputLine
from mesh.errors import InvalidArgument, NotFound, Unavailable
from mesh.loops import Backoff

_BACKOFF = Backoff(first_s=0.2, limit_s=10.0)
_SILENT_S = (240.0, 300.0)  # shorter than load balancers keep a quiet connection for, mostly
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LINE_BYTES = 1 << 20
_NS = 10**9


class Handles(Protocol):
    """Knows where instances are."""

    def handle_of(self, instance: str) -> str:
        """The handle of one that is there, or just was; empty otherwise."""
        ...


class PodLogs:
    """The output of instances that are pods. A position is a time in nanoseconds since 1970."""

    def __init__(self, clusters: Clusters, handles: Handles, silent_s: tuple[float, float] = _SILENT_S) -> None:
        self._clusters, self._handles, self._silent_s = clusters, handles, silent_s

    async def output(self, instance: str, position: int) -> AsyncIterator[Sequence[OutputLine]]:
        """Lines after a position, as they come; ends once the container has and all was read."""
        failures = 0
        while handle := self._handles.handle_of(instance):
            namespace, name, restarts, context = parse_handle(handle)
            opened = self._clusters.known(context)
            pod = opened.watching.pod((namespace, name)) if opened else None
            is_gone = pod is None and opened is not None and opened.watching.knows_pods
            if is_gone or (pod is not None and pod.restarts > restarts + 1):
                return
            before = pod is not None and pod.restarts > restarts  # what is asked about was restarted since
            error: Exception | None = None
            if opened and pod and (before or pod.running or pod.ended is not None):
                ended, began = before or not pod.running, asyncio.get_running_loop().time()
                query = _query(pod, position, before=before)
                silent_s = random.uniform(*self._silent_s)  # noqa: S311 -- spreads reconnects, guards nothing
                try:
                    blocks = opened.cluster.log(pod.namespace, pod.name, query, silent_s=silent_s)
                    async for lines in _lines(blocks, position):
                        position, failures = lines[-1].position, 0
                        yield lines
                    if ended:
                        return
                except NotFound:
                    return
                except (InvalidArgument, Unavailable) as told:  # it has not begun yet, or the cluster is busy
                    error = told
                    if asyncio.get_running_loop().time() - began >= self._silent_s[0]:
                        failures = 0  # it was only quiet
            failures += 1
            await asyncio.sleep(wait_s(_BACKOFF, failures, error))


async def _lines(blocks: AsyncGenerator[bytes, None], position: int) -> AsyncIterator[list[OutputLine]]:
    left = b""
    try:
        async for block in blocks:
            *whole, left = (left + block).split(b"\n")
            lines = [one for text in whole if (one := parse(text)) is not None and one.position > position]
            if lines:
                yield lines
            left = left[:_LINE_BYTES]
    finally:
        await blocks.aclose()
    last = parse(left)
    if last is not None and last.position > position:
        yield [last]


def _query(pod: Pod, position: int, *, before: bool) -> Query:
    query = [("container", pod.container), ("timestamps", "true")]
    query.append(("previous", "true") if before else ("follow", "true"))
    if position:
        since = _EPOCH + timedelta(seconds=position // _NS)
        query.append(("sinceTime", since.isoformat().replace("+00:00", "Z")))
    return query


def parse(line: bytes) -> OutputLine | None:
    """A line of a log with its time before it; None where it has none."""
    time, _, text = line.partition(b" ")
    stamp, _, fraction = time.decode("ascii", "replace").removesuffix("Z").partition(".")
    try:
        seconds = datetime.fromisoformat(stamp).replace(tzinfo=UTC)
        nanoseconds = int(fraction.ljust(9, "0")[:9] or 0)
    except ValueError:
        return None
    whole = (seconds - _EPOCH) // timedelta(seconds=1)
    return OutputLine(text, whole * _NS + nanoseconds, None, seconds + timedelta(microseconds=nanoseconds // 1000))
