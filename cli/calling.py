"""Calling a mesh from a command: the client, and its errors as sentences that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.errors import CommandError

if TYPE_CHECKING:
    from fnmesh.client import FnmeshError, Mesh


@contextmanager
def mesh_at(server: str | None, workspace: str = "default") -> Iterator[Mesh]:
    """A client for one command. Whatever it raises comes out as a CommandError."""
    from fnmesh.client import FnmeshError, Mesh

    try:
        with Mesh(server, workspace=workspace) as mesh:
            yield mesh
    except FnmeshError as error:
        raise CommandError(explain(error)) from None


def explain(error: FnmeshError) -> str:
    """One sentence for a person."""
    from fnmesh.client import PermissionDenied, Unauthenticated, Unreachable
    from fnmesh.client.address import credentials_file
    from fnmesh.client.errors import RpcFailed

    text = str(error).strip() or type(error).__name__
    if isinstance(error, Unreachable):
        return text.rstrip(".") + "; start one with `fnmesh up`, or name another with --server."
    if isinstance(error, Unauthenticated):
        return f"{_ended(text)} Set FNMESH_API_KEY, or put the key into {credentials_file()} (mode 0600)."
    if isinstance(error, PermissionDenied) and error.reason:  # without one, it is the door that refuses its name
        return f"{_ended(text)} Use a key that has the scope: `fnmesh key list` shows them to an admin."
    if isinstance(error, RpcFailed) and error.fields and not any(text_ in text for _, text_ in error.fields):
        details = "; ".join(f"{field}: {description}" for field, description in error.fields)
        return f"{text.rstrip('.')} ({details.rstrip('.')})."
    return text


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
