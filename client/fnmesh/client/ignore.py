"""Which files of a source stay at home: the subset of gitignore's rules that `.fnmeshignore` knows.

One pattern a line; empty lines and lines beginning with `#` are skipped. `*` and `?` match within a name,
`[...]` one of the characters, `**` any number of folders. A pattern with a slash at its beginning or in
its middle is matched from the root of the source, any other at every depth; one that ends in a slash matches
folders only; one that begins with `!` brings back what an earlier line excluded (but not from an excluded
folder).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fnmesh.client.errors import SourceError

ALWAYS_IGNORED_FOLDERS = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", "venv"})
ALWAYS_IGNORED_FILES = frozenset({".fnmeshignore", "fnmesh.toml", ".DS_Store"})


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    folders_only: bool
    keep: bool


class IgnoreRules:
    """The rules of one source: those that always hold, then the lines of its `.fnmeshignore`.

    Raises SourceError for a line that is no pattern.
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._rules = tuple(rule for line in lines if (rule := _parse(line)) is not None)

    def excludes(self, path: str, *, folder: bool) -> bool:
        """Whether the file or folder at `path` (relative to the root, with slashes) stays at home."""
        name = path.rpartition("/")[2]
        if name in (ALWAYS_IGNORED_FOLDERS if folder else ALWAYS_IGNORED_FILES) or name.endswith(".pyc"):
            return True
        excluded = False
        for rule in self._rules:
            if (folder or not rule.folders_only) and rule.pattern.fullmatch(path):
                excluded = not rule.keep
        return excluded


def _parse(line: str) -> _Rule | None:
    text = line.rstrip()
    if not text or text.startswith("#"):
        return None
    keep = text.startswith("!")
    text = text.removeprefix("!").removeprefix("\\")
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    anchored = "/" in text
    text = text.lstrip("/")
    if not text:
        return None
    prefix = "" if anchored else "(?:.*/)?"
    try:
        return _Rule(re.compile(prefix + _translate(text)), folders_only, keep)
    except re.error as error:
        raise SourceError(f"'{line.rstrip()}' in .fnmeshignore is no pattern: {error}.") from None


def _translate(glob: str) -> str:
    """A glob as a regular expression."""
    parts: list[str] = []
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif glob.startswith("**", at):
            parts.append(".*")
            at += 2
        elif glob[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif glob[at] == "?":
            parts.append("[^/]")
            at += 1
        elif glob[at] == "[" and (end := glob.find("]", at + 2)) > 0:
            inside = glob[at + 1 : end]
            inside = "^" + inside[1:] if inside[0] in "!^" else inside
            parts.append("[" + inside.replace("\\", "\\\\").replace("[", "\\[") + "]")
            at = end + 1
        else:
            parts.append(re.escape(glob[at]))
            at += 1
    return "".join(parts)
