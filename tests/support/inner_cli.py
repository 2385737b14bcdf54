"""`fnmesh` within the test's own process: for tests of many commands, each of which would start an interpreter."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass

import pytest

from cli.main import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def fnmesh(monkeypatch: pytest.MonkeyPatch, server: str, *arguments: str) -> Done:
    """Runs `fnmesh` against the mesh at `server`."""
    monkeypatch.setattr(sys, "argv", ["fnmesh", *arguments])
    monkeypatch.setenv("FNMESH_SERVER", server)
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return Done(code, out.getvalue(), err.getvalue())
