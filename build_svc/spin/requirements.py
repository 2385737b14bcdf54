"""What requirements.txt of a component may ask for: wheels, by name or URL, and where indexes are. Pure.

Everything else that pip would take leads to files of this machine (`-r /etc/...`, whose lines its errors quote), or to
code that is run to be installed (a directory, an sdist, a repository).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from build_svc import libraries
from build_svc.domain import BuildFailed

FILE = "requirements.txt"
_URL = r"https?://[^\s$#]+"  # pip would put variables of its own environment in the place of ${...}
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_LIBRARY = re.compile(
    rf"(?!.*\s-(?!-hash=)){_NAME}\s*(\[[A-Za-z0-9._,\s-]*\])?\s*(@\s*{_URL}\.whl(#[^\s$]*)?(?=\s|$)|[(<>=!~][^;#/$@]*)?"
    r"\s*(;[^/#$]*)?(\s+--hash=\S+)*"
)
_OPTION = re.compile(
    rf"(-i|--index-url|--extra-index-url|-f|--find-links)(\s+|=){_URL}"
    rf"|(-r|--requirement|-c|--constraint)(\s+|=)?(\./)?(?P<file>{_NAME}\.txt)"
    r"|--trusted-host(\s+|=)[A-Za-z0-9.:_-]+|--only-binary(\s+|=):all:|--pre|--prefer-binary|--require-hashes|--no-index"
)


def checked(text: str, read: Callable[[str], str | None]) -> dict[str, str]:
    """requirements.txt and the files beside it that it names (name -> text), with just the lines that were looked at.

    `read` gives the text of such a file, or None. Raises BuildFailed for a line that asks for anything else.
    """
    found: dict[str, str] = {}
    to_read = {FILE: text}
    while to_read:
        name, text = to_read.popitem()
        lines = libraries.requirement_lines(text)
        found[name] = "".join(f"{line}\n" for line in lines)
        for other in {other for line in lines if (other := _file_of(name, line))} - found.keys():
            if (more := read(other)) is not None:
                to_read[other] = more
    return found


def _file_of(name: str, line: str) -> str | None:
    """The file that the line names, if it is one of those."""
    option = _OPTION.fullmatch(line)
    if option is None and not _LIBRARY.fullmatch(line):
        raise BuildFailed(
            f"{name}: '{line[:200]}' cannot be a library of a component: give a name and a version, or the URL of"
            " a wheel for any platform."
        )
    return option["file"] if option else None
