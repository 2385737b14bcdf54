"""The commands of docs/operations.md, to be run as they stand there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.running_mesh import ROOT

PAGE = ROOT / "docs" / "operations.md"
_BLOCK = re.compile(r"<!-- tested: ([a-z-]+) -->\n```sh\n(.*?)```\n", re.DOTALL)


def blocks() -> dict[str, str]:
    """The blocks that are marked as tested, by name."""
    found = _BLOCK.findall(PAGE.read_text())
    assert len(found) == PAGE.read_text().count("<!-- tested:"), "a marked block is not of the form ```sh"
    return dict(found)


def run_block(name: str, environ: Mapping[str, str], cwd: Path) -> str:
    """Runs a block in bash, ending at the first command that fails; what it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", blocks()[name]],
        env=dict(environ), cwd=cwd, capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    return done.stdout
