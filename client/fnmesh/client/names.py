"""Resource names of the API, from the names people use."""

from __future__ import annotations

import re

from fnmesh.client.errors import SourceError

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # what can stand in a resource name; the mesh is stricter


def workspace_name(workspace: str) -> str:
    """`workspaces/demo` of `demo` or of itself. Raises SourceError for what cannot be one."""
    if workspace.startswith("workspaces/"):
        return workspace
    if not _SEGMENT.fullmatch(workspace):
        raise SourceError(
            f"{_shown(workspace)} cannot be a workspace's name: those have 1 to 63 characters of a-z, 0-9 and -."
        )
    return f"workspaces/{workspace}"


def function_name(name: str, workspace: str = "default") -> str:
    """`workspaces/default/functions/hello` of `hello`; a resource name stays what it is.

    Raises SourceError for what cannot be one.
    """
    return name if name.startswith("workspaces/") else name_within(workspace, name)


def name_within(workspace: str, display_name: str) -> str:
    """`workspaces/default/functions/hello` of `default` and `hello`. Raises SourceError for what cannot be one."""
    if not _SEGMENT.fullmatch(display_name):
        raise SourceError(
            f"{_shown(display_name)} cannot be a function's name: those have 1 to 63 characters of a-z, 0-9, - and _."
        )
    return f"{workspace_name(workspace)}/functions/{display_name}"


def revision_number(revision: str) -> int:
    """The number at the end of a revision's resource name; 0 of an empty one."""
    tail = revision.rpartition("/")[2]
    return int(tail) if tail.isdigit() else 0


def last_part(name: str) -> str:
    """The identifier at the end of a resource name."""
    return name.rpartition("/")[2]


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:57]}...")


def as_function_name(text: str) -> str:
    """A valid function name as near to `text` as may be: `My Files` becomes `my-files`."""
    name = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63].strip("-_")
    return name or "function"
