"""Compiles a function's code without running it. Run by path with the interpreter that will run the function.

    python -I -S check_python.py APP_DIRECTORY ENTRY_FILE HANDLER

Says `handler.py:3: invalid syntax` and ends with 1 where the entry file is not Python, or its handler is plainly
not there. Other files that are not Python are told of and left alone: they may never be imported.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
from collections.abc import Sequence


def complaint(error: BaseException, name: str) -> str:
    """One line for what `compile` raised."""
    if isinstance(error, SyntaxError):
        line = f":{error.lineno}" if error.lineno else ""
        text = (error.text or "").strip()
        return f"{name}{line}: {error.msg}" + (f": {text[:200]}" if text else "")
    return f"{name}: {type(error).__name__}: {error}"


def parse(path: str, name: str) -> tuple[ast.Module | None, str]:
    """The file's tree, and no complaint; or no tree, and one."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- pathlib would be half of the time this takes
            source = file.read()
        tree = ast.parse(source, name)
        compile(tree, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return None, complaint(error, name)
    return tree, ""


def names_of(statements: Sequence[ast.AST]) -> tuple[set[str], bool]:
    """Names that running these statements may bind, and whether others may be bound too."""
    names: set[str] = set()
    open_ended = False
    for node in statements:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            open_ended |= any(alias.name == "*" for alias in node.names)
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                names.add(inner.id)
            elif isinstance(inner, ast.Name) and inner.id in ("globals", "exec", "setattr", "vars", "locals"):
                open_ended = True
            elif isinstance(inner, (ast.MatchAs, ast.MatchStar)) and inner.name:
                names.add(inner.name)
        for block in blocks_of(node):
            inner_names, inner_open = names_of(block)
            names |= inner_names
            open_ended |= inner_open
    return names, open_ended


def blocks_of(node: ast.AST) -> list[list[ast.AST]]:
    """The blocks of statements in an `if`, `try`, `with`, `for`, `while` or `match`."""
    blocks = [getattr(node, field, None) for field in ("body", "orelse", "finalbody")]
    for field in ("handlers", "cases"):
        blocks += [branch.body for branch in getattr(node, field, ())]
    return [block for block in blocks if isinstance(block, list)]


def main(app: str, entry: str, handler: str) -> int:
    warnings.simplefilter("ignore")
    for directory, below, files in os.walk(app):
        below[:] = sorted(one for one in below if not one.startswith(".") and one != "node_modules")
        for file in sorted(files):
            path = f"{directory}/{file}"
            name = os.path.relpath(path, app)
            if name == entry or not file.endswith(".py"):
                continue
            _, wrong = parse(path, name)
            if wrong:
                print(f"warning: {wrong}")
    tree, wrong = parse(f"{app}/{entry}", entry)
    if tree is None:
        print(wrong)
        return 1
    names, open_ended = names_of(tree.body)
    wanted = handler.partition(".")[0]
    if wanted not in names and not open_ended and "__getattr__" not in names:
        print(f"{entry} has no {wanted}: define {wanted}(event) in it, or name another handler.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3]))
