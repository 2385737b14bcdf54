"""`fnmesh new`."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.output import print_json

TEMPLATES = Path(__file__).parent.parent / "templates"


class Template(StrEnum):
    """What there is a template for."""

    python = "python"
    node = "node"
    spin = "spin"


def new(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="What to make.")],
    runtime: Annotated[Template, typer.Option("--runtime", "-r", help="Language.")] = Template.python,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Make a directory with a function to start from.

    **Example**: `fnmesh new hello --runtime node`
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CommandError(f"'{directory}' is there already; choose another name.")
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for template in sorted((TEMPLATES / runtime.value).iterdir()):
        name = template.name.removesuffix(".txt")
        shutil.copyfile(template, directory / name)
        made.append(name)
    if as_json:
        print_json({"directory": str(directory), "runtime": runtime.value, "files": made})
    else:
        print(f"{directory}: {', '.join(made)}. Deploy it with `fnmesh deploy {directory}`.")
