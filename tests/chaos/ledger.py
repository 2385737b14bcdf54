"""What clients were told, what was done to the mesh meanwhile, and in which order: the book that the checker reads.

Nothing here talks to a mesh. Times are seconds since the ledger was opened.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

KEPT_LINES = 400
_LOOKED_BACK = 12

CONTROL = "control"
"""Calls of the API other than invokes."""

CALLS = "calls"
"""In `Disturbance.excuses`: requests to any function."""


def calls_of(function: str) -> str:
    """The kind of requests to that function."""
    return f"{CALLS} of {function}"


@dataclass
class Story:
    """One function, as told to the one client that changes it.

    `exists` is None where a create or a delete was not answered. `edition` is the newest code whose build was
    acknowledged, `maybe_editions` those asked for later without an answer; the same for `greeting`, an env value.
    """

    name: str
    exists: bool | None = None
    uid: str = ""
    edition: int = 0
    maybe_editions: set[int] = field(default_factory=set)
    greeting: str = ""
    maybe_greetings: set[str] = field(default_factory=set)
    builds: dict[str, str] = field(default_factory=dict)
    """Accepted builds by resource name: "good" or "broken" (its source has an error)."""
    ended: dict[str, str] = field(default_factory=dict)
    """The final states that were told."""
    revisions: set[int] = field(default_factory=set)
    earlier_uids: set[str] = field(default_factory=set)
    """Functions of this name that were deleted for sure."""

    @property
    def editions(self) -> set[int]:
        """The code that may serve once everything has settled."""
        return self.maybe_editions | ({self.edition} if self.edition else set())

    @property
    def greetings(self) -> set[str]:
        """The env values that may be in force once everything has settled."""
        return self.maybe_greetings | {self.greeting}

    def asked_for(self, edition: int) -> None:
        """A deploy was sent."""
        self.maybe_editions.add(edition)

    def accepted(self, edition: int, build: str, *, broken: bool = False) -> None:
        """Its build was acknowledged: this code serves sooner or later."""
        self.builds[build] = "broken" if broken else "good"
        if broken:
            self.maybe_editions.discard(edition)
        else:
            self.edition, self.maybe_editions = edition, set()

    def greeted(self, greeting: str) -> None:
        """An env value was acknowledged."""
        self.greeting, self.maybe_greetings = greeting, set()

    def created(self, uid: str) -> None:
        """It is there for sure."""
        if self.uid and uid != self.uid:
            self.begin_anew()
        self.exists, self.uid = True, uid

    def deleted(self) -> None:
        """It is gone for sure."""
        self.begin_anew()
        self.exists = False

    def begin_anew(self) -> None:
        """What was told of the function that had this name is history."""
        if self.uid:
            self.earlier_uids.add(self.uid)
        self.uid, self.edition, self.greeting = "", 0, ""
        self.maybe_editions, self.maybe_greetings = set(), set()
        self.builds, self.ended, self.revisions = {}, {}, set()


@dataclass
class Key:
    """An API key that was acknowledged; `revoked` is None where a revocation was not answered."""

    key_id: str
    revoked: bool | None = False


@dataclass
class Disturbance:
    """Something that was done to the mesh, and which kinds of requests may fail of it while it lasts."""

    what: str
    began: float
    excuses: frozenset[str] = frozenset()
    ended: float | None = None

    def explains(self, failure: Failure) -> bool:
        """Whether a request of that kind and time may have failed of it."""
        overlaps = failure.ended >= self.began and (self.ended is None or failure.began <= self.ended)
        of_any = CALLS in self.excuses and failure.kind.startswith(CALLS)
        return overlaps and (failure.kind in self.excuses or of_any)


@dataclass(frozen=True)
class Failure:
    """A request that was not answered as it should have been.

    `excusable` says that the mesh may answer so while something is down; else nothing explains it.
    """

    kind: str
    what: str
    how: str
    began: float
    ended: float
    excusable: bool = True


@dataclass
class _Line:
    """A line of the timeline; the same failure again and again is one."""

    at: float
    text: str
    times: int = 1
    last_at: float = 0.0

    def __str__(self) -> str:
        again = f" ({self.times} times, to {self.last_at:.2f})" if self.times > 1 else ""
        return f"{self.at:8.2f}  {self.text}{again}"


class Ledger:
    """All of it. `prefix` is put before the names of functions, so that several may share a mesh."""

    def __init__(self, seed: int, prefix: str = "", *, echo: bool = False) -> None:
        """With `echo`, the timeline is printed as it grows."""
        self.seed = seed
        self._echo = echo
        self.prefix = prefix
        self.stories: dict[str, Story] = {}
        self.keys: dict[str, Key] = {}
        self.failures: list[Failure] = []
        self.disturbances: list[Disturbance] = []
        self.answered: Counter[str] = Counter()
        self.numbers = itertools.count(1)
        """Of editions, greetings and whatever else has to be new."""
        self._lines: deque[_Line] = deque(maxlen=KEPT_LINES)
        self._opened = time.monotonic()

    def now(self) -> float:
        """Seconds since the ledger was opened."""
        return time.monotonic() - self._opened

    def story(self, name: str) -> Story:
        """The story of a function, begun where there is none."""
        return self.stories.setdefault(name, Story(name))

    def note(self, text: str) -> None:
        """Adds a line to the timeline."""
        self._lines.append(_Line(self.now(), text))
        if self._echo:
            print(self._lines[-1], flush=True)

    def failed(self, kind: str, what: str, how: str, began: float, *, excusable: bool = True) -> None:
        """A request failed."""
        self.failures.append(Failure(kind, what, how, began, self.now(), excusable))
        text = f"  failed: {what}: {how}"
        same = next((line for line in itertools.islice(reversed(self._lines), _LOOKED_BACK) if line.text == text), None)
        if same is None:
            self.note(text)
        else:
            same.times, same.last_at = same.times + 1, self.now()

    @contextmanager
    def disturbance(self, what: str, excuses: Iterable[str] = ()) -> Iterator[Disturbance]:
        """Something is being done to the mesh; it is over when the context is left, or when `ended` was set."""
        one = Disturbance(what, self.now(), frozenset(excuses))
        self.disturbances.append(one)
        self.note(what)
        try:
            yield one
        finally:
            if one.ended is None:
                one.ended = self.now()
            self.note(f"over: {what} ({self.now() - one.began:.2f} s)")

    def unexplained(self) -> list[Failure]:
        """Failures that nothing that was done explains."""
        return [
            failure
            for failure in self.failures
            if not failure.excusable or not any(one.explains(failure) for one in self.disturbances)
        ]

    def timeline(self) -> str:
        """What was done and what failed, for the message of a failed test."""
        counts = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.answered.items()))
        return "\n".join([f"seed {self.seed}; answered: {counts}", *map(str, self._lines)])
