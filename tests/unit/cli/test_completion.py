"""Completion in real shells: bash, and zsh and fish where they are there."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shells import SHELLS, offers

_NOBODY = {"FNMESH_SERVER": "127.0.0.1:1"}  # nothing listens on port 1


_OFFERED = [
    ("fnmesh de", ["delete", "deploy"]),
    ("fnmesh secret ", ["delete", "list", "set"]),
    ("fnmesh show --re", ["--reveal-env"]),
    ("fnmesh deploy --target ", ["docker", "kubernetes", "process", "spin"]),
    ("fnmesh deploy . --access=k", ["key"]),
    ("fnmesh --server h:1 show --rev", ["--reveal-env"]),
    ("fnmesh deploy -w secret env --ti", ["--timeout"]),
    ("fnmesh env set hello --no", ["--no-wait"]),
    ("fnmesh trace ", []),
    ("fnmesh show ", []),  # no mesh answers: nothing, and no error
    ("fnmesh deploy {home}/hel", ["{home}/hello.py"]),
]


def _offered(shell: str, line: str, home: Path) -> list[str]:
    (home / "hello.py").write_text("")
    found = offers(shell, line.format(home=home), home=home, environ=_NOBODY)
    return [one.removeprefix("--access=") for one in found]  # zsh and fish give it back with its option


@pytest.mark.parametrize(("line", "expected"), _OFFERED)
def test_bash_offers(line: str, expected: list[str], tmp_path: Path) -> None:
    assert _offered("bash", line, tmp_path) == [word.format(home=tmp_path) for word in expected]


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "bash"])
def test_other_shells_offer_the_same(shell: str, tmp_path: Path) -> None:
    found = {line: _offered(shell, line, tmp_path) for line, _ in _OFFERED}

    assert found == {line: [word.format(home=tmp_path) for word in expected] for line, expected in _OFFERED}


def test_a_mesh_that_does_not_answer_keeps_no_shell_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "cli", "function-names", "--server", address],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_scripts_are_told_as_json_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "completion", "bash", "--json"], capture_output=True, text=True, check=True
    )

    told = json.loads(done.stdout)
    assert told["shell"] == "bash"
    assert "complete -F _fnmesh fnmesh" in told["script"]
