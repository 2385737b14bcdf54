"""What the oldest Python that the mesh runs on does differently, kept out of the code whatever runs the tests."""

from __future__ import annotations

import ast

from tests.unit.project.sources import ROOT, modules_in

_LEAVING = (ast.Raise, ast.Await, ast.Yield, ast.YieldFrom, ast.AsyncFor, ast.AsyncWith)


def test_nothing_is_raised_while_a_group_is_caught() -> None:
    """Before 3.11.4 whatever leaves `except*` leaves it in a group, CancelledError of an `await` included: a task that
    was cancelled has failed then.
    """
    wrong = [
        f"{module.relative_to(ROOT)}:{node.lineno}"
        for module in modules_in(".")
        if "except*" in (text := module.read_text())
        for caught in ast.walk(ast.parse(text, str(module)))
        if isinstance(caught, ast.TryStar)
        for handler in caught.handlers
        for node in ast.walk(handler)
        if isinstance(node, _LEAVING)
    ]
    assert wrong == []
