"""The examples in docs/client.md, as they stand, against a running mesh."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.support.running_mesh import ROOT, RunningMesh

_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./]+\.py)\n")


def test_the_examples_print_what_the_page_says(
    mesh: RunningMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "client.md").read_text()
    blocks = [(found[1], found[2]) for found in _BLOCK.finditer(page)]
    assert len(blocks) > 8
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FNMESH_SERVER", mesh.server)
    monkeypatch.setenv("HOME", str(tmp_path))
    names: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    for kind, text in blocks:
        if kind == "text":
            assert printed == text
        elif file := _FILE.match(text):
            (tmp_path / file[1]).parent.mkdir(exist_ok=True)
            (tmp_path / file[1]).write_text(textwrap.dedent(text))
        else:
            exec(compile(text, "docs/client.md", "exec"), names)
            printed = capsys.readouterr().out
