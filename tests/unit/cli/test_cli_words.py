"""Commands without a mesh: help, templates, errors as one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import app, main


def _commands(group: Any, *path: str) -> Iterator[str]:
    """Every command that help names, below a group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, *path, name)
        elif not command.hidden:
            yield " ".join((*path, name))


COMMANDS = list(_commands(typer.main.get_command(app)))


def run(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        capture_output=True, text=True, check=False, cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb", **environ},
    )  # fmt: skip


def _free_server() -> str:
    return "127.0.0.1:1"  # nothing listens on port 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["fnmesh", *command.split(), "--help"])
    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Example" in said
    assert f"fnmesh {command}" in said
    assert "--json" in said


def test_the_commands_are_found() -> None:
    assert {"up", "job run", "schedule add", "env set", "db backup"} < set(COMMANDS)


def test_help_is_quick() -> None:
    """What is slow to import is not imported: neither grpc nor the stubs are needed for help."""
    slow = "('grpc', 'fnmesh', 'google')"
    code = f"import sys, cli.main; print([n for n in sys.modules if n.split('.')[0] in {slow}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show", "x"], ["invoke", "x"], ["logs", "x"], ["trace", "0" * 32], ["key", "list"]],
)
def test_no_mesh_is_one_sentence_that_says_what_to_do(arguments: list[str]) -> None:
    done = run(*arguments, "--server", _free_server())

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "fnmesh: No mesh answers at http://127.0.0.1:1; start one with `fnmesh up`, or name another with --server.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command"),
        (["show"], "see `fnmesh show --help`"),
        (["env", "set", "x", "NOT_A_PAIR"], "not of the form KEY=VALUE"),
        (["invoke", "x", "-d", "{"], "The event is not JSON"),
        (["list", "--server", "http://x/y"], "not the address of a mesh"),
        (["deploy", "nowhere"], "There is no file or directory 'nowhere'"),
        (["up", "--listen", "nowhere"], "not an address to listen on"),
    ],
)
def test_errors_are_one_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path, FNMESH_DATA_DIR=str(tmp_path))

    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("runtime", "entry"), [("python", "handler.py"), ("node", "index.mjs"), ("spin", "spin.toml")])
def test_templates(runtime: str, entry: str, tmp_path: Path) -> None:
    done = run("new", "hello", "--runtime", runtime, "--json", cwd=tmp_path)

    made = json.loads(done.stdout)
    assert entry in made["files"]
    assert sorted(made["files"]) == sorted(path.name for path in (tmp_path / "hello").iterdir())
    again = run("new", "hello", cwd=tmp_path)
    assert again.returncode == 1
    assert "is there already" in again.stderr
