"""What containers have written, and reading it as the API server lets one read it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.support.kubernetes import statuses
from tests.support.kubernetes.times import ClusterClock, parsed

Json = dict[str, Any]
Place = tuple[str, str]  # uid of the pod, name of the container


@dataclass
class _Written:
    lines: list[tuple[datetime, str]] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True)
class LogQuery:
    """The parameters of a request for a log that say which lines."""

    follow: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail: int | None = None
    limit_bytes: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], now: datetime) -> LogQuery:
        """Raises ApiError 400."""
        try:
            since = parsed(query["sinceTime"]) if "sinceTime" in query else None
            if "sinceSeconds" in query:
                since = now - timedelta(seconds=int(query["sinceSeconds"]))
            numbers = {name: int(query[name]) if name in query else None for name in ("tailLines", "limitBytes")}
        except ValueError as error:
            raise statuses.bad_request(f"invalid log options: {error}") from error
        true = ("true", "1")
        return cls(
            query.get("follow") in true, query.get("timestamps") in true, since, numbers["tailLines"],
            numbers["limitBytes"],
        )  # fmt: skip


def readable(pod: Json, container: str) -> str:
    """The container of a pod whose log is meant. Raises ApiError 400 where there is none to read."""
    name = pod["metadata"]["name"]
    known = [one["name"] for one in pod["spec"]["containers"]]
    if not container and len(known) > 1:
        listed = " ".join(known)
        raise statuses.bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]")
    container = container or known[0]
    if container not in known:
        raise statuses.bad_request(f"container {container} is not valid for pod {name}")
    for status in (pod.get("status") or {}).get("containerStatuses", []):
        reason = status["state"].get("waiting", {}).get("reason", "")
        if status["name"] == container and reason and not status["lastState"]:
            why = "trying and failing to pull image" if "Image" in reason else reason
            raise statuses.bad_request(f'container "{container}" in pod "{name}" is waiting to start: {why}')
    if not pod["spec"].get("nodeName"):
        raise statuses.bad_request(f"pod {name} does not have a host assigned")
    return container


class PodLogs:
    """The lines of all containers there were; they outlive the pod only for who is reading already."""

    def __init__(self, clock: ClusterClock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._written: dict[Place, _Written] = {}
        self._readers: set[Callable[[], None]] = set()

    def write(self, uid: str, container: str, line: str, at: datetime | None = None) -> None:
        """One line, now or at `at`."""
        with self._lock:
            self._at((uid, container)).lines.append((at or self._clock.now(), line))
        self._wake()

    def restart(self, uid: str, container: str) -> None:
        """What it wrote is that of the previous container from now on."""
        with self._lock:
            self._written[uid, f"{container}/previous"] = self._written.pop((uid, container), _Written())
        self._wake()

    def end(self, uid: str) -> None:
        """The pod is gone: who follows it is at the end."""
        with self._lock:
            for place in [place for place in self._written if place[0] == uid]:
                self._written.pop(place).ended = True
        self._wake()

    async def read(
        self, uid: str, container: str, query: LogQuery, *, previous: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """The lines, and with `follow` those to come until the pod is gone."""
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(woken.set)

        with self._lock:
            written = self._at((uid, f"{container}/previous" if previous else container))
            self._readers.add(wake)
        try:
            at = self._first(written, query)
            left = query.limit_bytes
            while True:
                woken.clear()
                with self._lock:
                    lines, ended = written.lines[at:], written.ended
                at += len(lines)
                for moment, line in lines:
                    if query.since is not None and moment < query.since:
                        continue
                    data = _encoded(moment, line, query)
                    if left is not None:
                        data, left = data[:left], left - len(data[:left])
                    yield data
                    if left == 0:
                        return
                if not query.follow or ended:
                    return
                await woken.wait()
        finally:
            with self._lock:
                self._readers.discard(wake)

    def _first(self, written: _Written, query: LogQuery) -> int:
        if query.tail is None:
            return 0
        with self._lock:
            return max(len(written.lines) - query.tail, 0)

    def _at(self, place: Place) -> _Written:
        return self._written.setdefault(place, _Written())

    def _wake(self) -> None:
        with self._lock:
            readers = list(self._readers)
        for wake in readers:
            wake()


def _encoded(moment: datetime, line: str, query: LogQuery) -> bytes:
    prefix = f"{moment.strftime('%Y-%m-%dT%H:%M:%S.%f')}000Z " if query.timestamps else ""
    return f"{prefix}{line}\n".encode()
