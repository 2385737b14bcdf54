"""Resource names: `workspaces/default/functions/hello`, and the patterns there are."""

from __future__ import annotations

import re

from mesh.errors import InvalidArgument

WORKSPACE = "workspaces/*"
FUNCTION = "workspaces/*/functions/*"
REVISION = "workspaces/*/functions/*/revisions/*"
BUILD = "workspaces/*/functions/*/builds/*"
SECRET = "workspaces/*/functions/*/secrets/*"  # noqa: S105 -- the form of a name
EXECUTION = "workspaces/*/functions/*/executions/*"
DEPLOYMENT = "workspaces/*/functions/*/deployment"
JOB = "workspaces/*/jobs/*"
SCHEDULE = "workspaces/*/schedules/*"
API_KEY = "apiKeys/*"
TRACE = "traces/*"

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def matches(pattern: str, name: str) -> bool:
    """Whether a name has the form of the pattern."""
    expected, given = pattern.split("/"), name.split("/")
    return len(expected) == len(given) and all(
        _SEGMENT.fullmatch(have) is not None if want == "*" else want == have
        for want, have in zip(expected, given, strict=True)
    )


def parse(pattern: str, name: str, *, field: str = "name") -> tuple[str, ...]:
    """The segments of a name that stand where the pattern has `*`.

    Raises InvalidArgument (NAME_INVALID) naming the request's `field` where the name does not have that form.
    """
    if not matches(pattern, name):
        wanted = "/".join(f"{{{_singular(a)}}}" if b == "*" else b for a, b in _pairs(pattern))
        message = f"'{name[:200]}' is not a name of the form {wanted}."
        raise InvalidArgument("NAME_INVALID", message, fields={field: message})
    return tuple(have for want, have in zip(pattern.split("/"), name.split("/"), strict=True) if want == "*")


def format_name(pattern: str, *segments: str | int) -> str:
    """The name with the segments in the places of `*`."""
    rest = list(segments)
    name = "/".join(str(rest.pop(0)) if part == "*" else part for part in pattern.split("/"))
    if rest:
        raise ValueError(f"too many segments for {pattern}")
    return name


def parent(name: str) -> str:
    """The name that a resource is in: `workspaces/a` of `workspaces/a/functions/b`."""
    return "/".join(name.split("/")[:-2])


def _pairs(pattern: str) -> list[tuple[str, str]]:
    parts = pattern.split("/")
    return list(zip(["", *parts[:-1]], parts, strict=True))


def _singular(collection: str) -> str:
    return collection.removesuffix("s")
