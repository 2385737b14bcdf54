"""What can be typed after `fnmesh`, read off its commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any

import typer


class Takes(StrEnum):
    """What kind of word is wanted."""

    NOTHING = "nothing"
    TEXT = "text"
    WORDS = "words"
    FUNCTION = "function"
    FILE = "file"


@dataclass(frozen=True)
class Value:
    """What an option or an argument takes; `words` are all there are, for Takes.WORDS."""

    takes: Takes
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """An option by all its names."""

    names: tuple[str, ...]
    help: str
    value: Value


@dataclass(frozen=True)
class Command:
    """A command or a group of them; `path` are the words that lead to it, without `fnmesh`."""

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Value, ...] = ()
    """The last one may be repeated."""
    commands: tuple[Command, ...] = field(default=())

    def all(self) -> Iterator[Command]:
        """Itself and everything below it."""
        yield self
        for command in self.commands:
            yield from command.all()


# Of options and arguments that take text: what it can be.
_KNOWN_WORDS = {
    "target": ("process", "docker", "spin", "kubernetes"),
    "runtime": ("python", "node", "spin"),
    "event_format": ("v2", "body"),
    "access": ("public", "key"),
    "scope": ("admin", "deploy", "invoke"),
}
_NOTHING = Value(Takes.NOTHING)
_HELP = Option(("--help", "-h"), "Show this message and exit.", _NOTHING)


def read_tree(app: typer.Typer) -> Command:
    """The commands of an application, hidden ones left out."""
    return _command(typer.main.get_command(app), ())


def _command(command: Any, path: tuple[str, ...]) -> Command:
    options = [_option(one) for one in command.params if one.param_type_name == "option" and not one.hidden]
    below = getattr(command, "commands", {})
    return Command(
        path,
        command.get_short_help_str(limit=200),
        (*options, _HELP),
        tuple(_value(one) for one in command.params if one.param_type_name == "argument" and not one.hidden),
        tuple(_command(one, (*path, name)) for name, one in below.items() if not one.hidden),
    )


def _option(option: Any) -> Option:
    return Option(
        (*option.opts, *option.secondary_opts),
        (option.help or "").partition("\n")[0],
        _NOTHING if option.is_flag else _value(option),
    )


def _value(parameter: Any) -> Value:
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return Value(Takes.WORDS, tuple(str(one.value) for one in annotation))
    if isinstance(annotation, type) and issubclass(annotation, Path):
        return Value(Takes.FILE)
    if parameter.metavar == "FUNCTION":
        return Value(Takes.FUNCTION)
    if parameter.metavar == "SOURCE":
        return Value(Takes.FILE)
    if parameter.name in _KNOWN_WORDS:
        return Value(Takes.WORDS, _KNOWN_WORDS[parameter.name])
    return Value(Takes.TEXT)
