"""`fnmesh completion bash|zsh|fish`, and the hidden command that its scripts call."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cli.options import DEFAULT_WORKSPACE, Server, Workspace
from cli.output import print_json


class Shell(StrEnum):
    """What there is completion for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="The shell.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the script as JSON.")] = False,
) -> None:
    """Print a script that completes commands, options and functions' names in a shell.

    **Example**: `eval "$(fnmesh completion bash)"`
    """
    from cli.completion.bash import bash_script
    from cli.completion.fish import fish_script
    from cli.completion.tree import read_tree
    from cli.completion.zsh import zsh_script
    from cli.main import app

    make = {Shell.bash: bash_script, Shell.zsh: zsh_script, Shell.fish: fish_script}[shell]
    script = make(read_tree(app))
    if as_json:
        print_json({"shell": shell.value, "script": script})
    else:
        print(script, end="")


def print_function_names(workspace: Workspace = DEFAULT_WORKSPACE, server: Server = None) -> None:
    """Print the names of functions, for completion: soon, or nothing, and no errors."""
    from cli.completion.names import function_names

    for name in function_names(server, workspace):
        print(name)
