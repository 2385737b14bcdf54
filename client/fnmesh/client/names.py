"""Resource names of the API, from the names people use."""

from __future__ import annotations

import re


def workspace_name(workspace: str) -> str:
    """`workspaces/demo` of `demo` or of itself."""
    return workspace if workspace.startswith("workspaces/") else f"workspaces/{workspace}"


def function_name(name: str, workspace: str = "default") -> str:
    """`workspaces/default/functions/hello` of `hello`; a resource name stays what it is."""
    return name if name.startswith("workspaces/") else f"{workspace_name(workspace)}/functions/{name}"


def revision_number(revision: str) -> int:
    """The number at the end of a revision's resource name; 0 of an empty one."""
    tail = revision.rpartition("/")[2]
    return int(tail) if tail.isdigit() else 0


def last_part(name: str) -> str:
    """The identifier at the end of a resource name."""
    return name.rpartition("/")[2]


def as_function_name(text: str) -> str:
    """A valid function name as near to `text` as may be: `My Files` becomes `my-files`."""
    name = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63].strip("-_")
    return name or "function"
