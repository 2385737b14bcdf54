"""Completion for fish, with a line about each word."""

from __future__ import annotations

from cli.completion.tree import Command, Option, Takes, Value

_SCRIPT = r"""# Completion of fnmesh for fish: fnmesh completion fish > ~/.config/fish/completions/fnmesh.fish
set -g __fnmesh_commands @commands@
set -g __fnmesh_valued @valued@
function __fnmesh_read # the command so far, how many arguments it has, and which mesh is meant: a line each
    set -l at ''
    set -l number 0
    set -l option ''
    set -l asked
    for word in (commandline -opc)[2..-1]
        if test -n "$option"
            if contains -- $option --server --workspace -w
                set -a asked $option $word
            end
            set option ''
        else if string match -q -- '-*' $word
            if contains -- "$at:$word" $__fnmesh_valued
                set option $word
            end
        else if contains -- (string trim -- "$at $word") $__fnmesh_commands
            set at (string trim -- "$at $word")
        else
            set number (math $number + 1)
        end
    end
    printf '%s\n' "$at" $number $asked
end
function __fnmesh_at
    set -l read (__fnmesh_read)
    test "$read[1]" = "$argv[1]"; and begin
        test (count $argv) = 1; or test "$read[2]" = "$argv[2]"
    end
end
function __fnmesh_functions
    set -l read (__fnmesh_read)
    command fnmesh function-names $read[3..-1] 2>/dev/null
end
complete -c fnmesh -f
@completes@
"""


def fish_script(root: Command) -> str:
    """The script."""
    lines, valued = [], []
    for command in root.all():
        path = " ".join(command.path)
        for below in command.commands:
            lines.append(f"{_when(path)} -a {below.path[-1]} -d {_quoted(below.help)}")
        for number, value in enumerate(command.arguments):
            if value.takes is not Takes.TEXT:
                lines.append(f"{_when(path, number)} {_kind(value)}")
        for option in command.options:
            lines += _option(path, option)
            if option.value.takes is not Takes.NOTHING:
                valued += [f"{path}:{name}" for name in option.names]
    commands = [" ".join(command.path) for command in root.all() if command.path]
    return (
        _SCRIPT.replace("@commands@", " ".join(map(_quoted, commands)))
        .replace("@valued@", " ".join(map(_quoted, valued)))
        .replace("@completes@", "\n".join(lines))
    )


def _option(path: str, option: Option) -> list[str]:
    """A line for each name, since `--wait` and `--no-wait` are one option here and two there."""
    return [
        f"{_when(path)} {'-l' if name.startswith('--') else '-s'} {name.lstrip('-')} "
        f"{_kind(option.value)} -d {_quoted(option.help)}".replace("  ", " ")
        for name in option.names
    ]


def _when(path: str, number: int | None = None) -> str:
    at = f'__fnmesh_at "{path}"' if number is None else f'__fnmesh_at "{path}" {number}'
    return f"complete -c fnmesh -n '{at}'"


def _kind(value: Value) -> str:
    match value.takes:
        case Takes.NOTHING:
            return ""
        case Takes.TEXT:
            return "-x"
        case Takes.WORDS:
            return f"-x -a '{' '.join(value.words)}'"
        case Takes.FUNCTION:
            return "-x -a '(__fnmesh_functions)'"
        case Takes.FILE:
            return "-r -F"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
