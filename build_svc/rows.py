"""Between rows and the domain's types."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from build_svc.domain import (
    Artifact,
    ArtifactKind,
    Build,
    BuildState,
    Event,
    Happening,
    LogLine,
    Progress,
    Push,
    Stage,
    StateChange,
)

_PLAIN = (
    "uid", "function", "function_uid", "source_digest", "deploy", "revision", "runtime", "target", "handler",
    "percent", "cached", "error", "last_sequence", "trace_id", "traceparent", "attempts", "cancel_requested",
    "reported",
)  # fmt: skip
_TIMES = ("create_time", "start_time", "end_time")
_PUSH = ("repository", "tag", "username", "image", "digest")
_ARTIFACT = ("digest", "kind", "reference", "size_bytes", "entry_file")


def of_build(build: Build) -> dict[str, Any]:
    """The columns that say what `build` is."""
    values = {name: getattr(build, name) for name in (*_PLAIN, *_TIMES)}
    values |= {"state": build.state.value, "stage": build.stage.value if build.stage else None, "image": build.image}
    for name in _ARTIFACT:
        values[f"artifact_{name}"] = getattr(build.artifact, name) if build.artifact else None
    for name in _PUSH:
        values[f"push_{name}"] = getattr(build.push, name) if build.push else None
    return values


def build_of(row: Any) -> Build:
    """The build of a row of `builds`."""
    return _build(row._mapping)


def of_happening(happening: Happening) -> tuple[str, dict[str, Any]]:
    """Kind and JSON content of an event."""
    if isinstance(happening, Progress):
        return "progress", {"stage": happening.stage.value, "percent": happening.percent}
    if isinstance(happening, LogLine):
        return "log_line", {"stage": happening.stage.value, "text": happening.text}
    content = of_build(happening.build)
    for name in _TIMES:
        content[name] = content[name].isoformat() if content[name] else None
    return "state_change", content


def event_of(row: Any) -> Event:
    """The event of a row of `build_events`."""
    content = json.loads(row.content)
    what: Happening
    if row.kind == "progress":
        what = Progress(Stage(content["stage"]), content["percent"])
    elif row.kind == "log_line":
        what = LogLine(Stage(content["stage"]), content["text"])
    else:
        for name in _TIMES:
            if content[name]:
                content[name] = datetime.fromisoformat(content[name]).astimezone(UTC)
        what = StateChange(_build(content))
    return Event(row.sequence, row.time, what)


def artifact_of(values: Any, prefix: str = "") -> Artifact | None:
    """The artifact in columns named `<prefix>digest`, ...; None where there is none."""
    if values[f"{prefix}digest"] is None:
        return None
    return Artifact(
        digest=values[f"{prefix}digest"],
        kind=ArtifactKind(values[f"{prefix}kind"]),
        reference=values[f"{prefix}reference"],
        size_bytes=values[f"{prefix}size_bytes"],
        entry_file=values[f"{prefix}entry_file"],
    )


def _build(values: Any) -> Build:
    return Build(
        **{name: values[name] for name in (*_PLAIN, *_TIMES)},
        state=BuildState(values["state"]),
        stage=Stage(values["stage"]) if values["stage"] else None,
        artifact=artifact_of(values, "artifact_"),
        push=_push(values),
        image=values.get("image") or "",  # older rows and events have none
    )


def _push(values: Any) -> Push | None:
    if values.get("push_repository") is None:  # nor had events of earlier versions any
        return None
    return Push(**{name: values[f"push_{name}"] for name in _PUSH})
