"""The time of a fake cluster: the machine's, plus what a test has let pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ClusterClock:
    """Goes on by itself, and jumps ahead when it is told to, so that no test waits for a deadline."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        """Aware, UTC."""
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        """Lets so many seconds pass at once. Use `FakeKubernetes.advance`, which has the controllers look as well."""
        self._ahead += timedelta(seconds=seconds)


def stamp(moment: datetime) -> str:
    """As `metav1.Time` is written: whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parsed(text: str) -> datetime:
    """Of what `stamp` wrote, or any RFC 3339 time. Raises ValueError."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment
