"""Imports the user's module and finds its handler."""

from __future__ import annotations

import builtins
import importlib
import inspect
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType, TracebackType
    from typing import Any


class HandlerInvalid(Exception):
    """The module is there, but what is called its handler cannot be called with an event."""


class Handler:
    """The user's function: how to call it, and whether it wants the event loop or a thread."""

    __slots__ = ("call", "on_loop", "wants_context")

    def __init__(self, call: Callable[..., Any], name: str) -> None:
        if not callable(call):
            raise HandlerInvalid(f"{name} is not a function")
        self.call = call
        target = call if inspect.isroutine(call) or inspect.isclass(call) else type(call).__call__
        self.on_loop = inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)
        self.wants_context = _takes_two(call, name)


def _takes_two(call: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # a built-in or an extension's function without a signature
        return False
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    positional = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    if positional == 0:
        raise HandlerInvalid(f"{name} takes no event: write it as {name}(event) or {name}(event, context)")
    return positional >= 2


def set_paths(app: str, packages: str) -> None:
    """Make `sys.path` what the user's code expects: its own directory first, its packages last."""
    sys.path.insert(0, app)
    if packages and os.path.isdir(packages):
        if any(name.endswith(".pth") for name in os.listdir(packages)):
            import site  # 3 ms, so only for those who need it

            site.addsitedir(packages)
        else:
            sys.path.append(packages)
    if not hasattr(builtins, "exit"):  # started with -S, which also leaves these out
        from _sitebuiltins import Quitter

        for name in ("exit", "quit"):
            setattr(builtins, name, Quitter(name, "Ctrl-D"))


def load(app: str, file: str, name: str) -> Handler:
    """Import `file` below `app` and find its handler; whatever the import raises passes through."""
    module = _import(app, file)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise HandlerInvalid(f"{file} has no {name}: define {name}(event) in it")
        found = getattr(found, part)
    return Handler(found, name)


def _import(app: str, file: str) -> ModuleType:
    dotted = file.removesuffix(".py").replace("/", ".")
    parts = dotted.split(".")
    taken = parts[0] in sys.modules or parts[0] in sys.stdlib_module_names
    if all(part.isidentifier() for part in parts) and not taken:
        return importlib.import_module(dotted)
    # A file that no import statement could name, or named like a module of Python itself.
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(f"_function_{len(parts)}", os.path.join(app, file))
    if spec is None or spec.loader is None:
        raise HandlerInvalid(f"{file} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def users_part(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this server and of the import machinery above the user's code."""
    here = os.path.dirname(__file__)
    part = traceback
    while part is not None:
        filename = part.tb_frame.f_code.co_filename
        if not (filename.startswith((here, "<frozen importlib")) or filename == importlib.__file__):
            return part
        part = part.tb_next
    return None if traceback is None else traceback
