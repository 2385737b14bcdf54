"""What a test has the server do wrong, and the list of what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.kubernetes import statuses
from tests.support.kubernetes.statuses import ApiError

WRITES = ("create", "update", "patch", "delete", "deletecollection")


_REASONS = {400: "BadRequest", 403: "Forbidden", 409: "Conflict", 413: "RequestEntityTooLarge", 422: "Invalid"}
_CONFLICT = (
    'Operation cannot be fulfilled on {} "{}": the object has been modified; please apply your changes to the latest '
    "version and try again"
)
_FORBIDDEN = '{} "{}" is forbidden: User "{}" cannot {} resource "{}"'


@dataclass(frozen=True)
class Asked:
    """One request. `verb` as RBAC names it; `content_type` tells the patches apart; `code` 0: it got no answer."""

    verb: str
    resource: str
    namespace: str
    name: str
    subresource: str
    content_type: str
    user: str
    dry_run: bool
    code: int = 0


@dataclass
class Fault:
    """What requests get that match, for the next `times` (None: until `clear`).

    `code` 0 means that the connection ends without an answer. `after` means that what was asked is done first, and
    only the answer is lost. `message` is for what admission says: quotas, webhooks.
    """

    code: int
    times: int | None = 1
    verb: str = ""
    resource: str = ""
    name: str = ""
    subresource: str | None = None
    retry_after_s: int = 1
    after: bool = False
    message: str = ""
    matches: Callable[[Asked], bool] | None = None

    def concerns(self, asked: Asked) -> bool:
        return (
            self.verb in ("", asked.verb)
            and self.resource in ("", asked.resource)
            and self.name in ("", asked.name)
            and self.subresource in (None, asked.subresource)
            and (self.matches is None or self.matches(asked))
        )

    def error(self, asked: Asked) -> ApiError:
        """As the real server words it, or with `message`."""
        if self.message:
            return ApiError(self.code, _REASONS.get(self.code, ""), self.message)
        match self.code:
            case 401:
                return statuses.unauthorized()
            case 403:
                said = _FORBIDDEN.format(asked.resource, asked.name, asked.user, asked.verb, asked.resource)
                return ApiError(403, "Forbidden", said)
            case 409:
                return ApiError(409, "Conflict", _CONFLICT.format(asked.resource, asked.name))
            case 410:
                return statuses.expired("too old resource version: 1 (2)")
            case 429:
                return statuses.too_many_requests(self.retry_after_s)
            case 500:
                return statuses.internal_error("etcdserver: request timed out")
            case 503:
                return statuses.unavailable()
            case 504:
                return ApiError(504, "Timeout", "Timeout: request did not complete within requested timeout")
        return ApiError(self.code, _REASONS.get(self.code, ""), f"the server answered {self.code}")


class Faults:
    """Those that are on now. `latency_s` holds every answer back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on: list[Fault] = []
        self.latency_s = 0.0

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._on.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._on.clear()
            self.latency_s = 0.0

    def take(self, asked: Asked) -> Fault | None:
        """The first that concerns it, which is then one time less on."""
        with self._lock:
            for fault in self._on:
                if fault.concerns(asked):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self._on.remove(fault)
                    return fault
        return None


class Ledger:
    """All that was asked of objects since the start, or since `reset`. Discovery and `/version` are not in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[Asked] = []

    def add(self, asked: Asked) -> None:
        with self._lock:
            self._asked.append(asked)

    def reset(self) -> None:
        with self._lock:
            self._asked.clear()

    def all(self) -> list[Asked]:
        with self._lock:
            return list(self._asked)

    def count(self, verb: str = "", resource: str = "", *, name: str = "", code: int | None = None) -> int:
        """How many requests there were of that verb, plural name, name and answer, whatever is not given."""
        return sum(
            verb in ("", one.verb) and resource in ("", one.resource) and name in ("", one.name)
            and code in (None, one.code) for one in self.all()
        )  # fmt: skip

    def writes(self, resource: str = "") -> int:
        """How many requests wanted to change something; dry runs are not counted."""
        return sum(one.verb in WRITES and resource in ("", one.resource) and not one.dry_run for one in self.all())

    def by_verb(self) -> dict[tuple[str, str], int]:
        """How many, by verb and plural name."""
        counts: dict[tuple[str, str], int] = {}
        for one in self.all():
            counts[one.verb, one.resource] = counts.get((one.verb, one.resource), 0) + 1
        return counts
