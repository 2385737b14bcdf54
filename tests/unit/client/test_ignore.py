"""The patterns of `.fnmeshignore`."""

from __future__ import annotations

import pytest

from fnmesh.client.ignore import IgnoreRules


@pytest.mark.parametrize(
    ("pattern", "path", "excluded"),
    [
        ("*.log", "a.log", True),
        ("*.log", "deep/in/a.log", True),
        ("*.log", "a.logs", False),
        ("/a.txt", "a.txt", True),
        ("/a.txt", "b/a.txt", False),
        ("b/a.txt", "b/a.txt", True),
        ("b/a.txt", "c/b/a.txt", False),
        ("**/a.txt", "c/b/a.txt", True),
        ("docs/**", "docs/x/y.md", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].py", "a.py", True),
        ("[!ab].py", "a.py", False),
        ("a[", "a[", True),
        ("# a comment", "# a comment", False),
        (r"\#file", "#file", True),
        ("build/", "build", False),
    ],
)
def test_files(pattern: str, path: str, excluded: bool) -> None:
    assert IgnoreRules([pattern]).excludes(path, folder=False) is excluded


def test_a_slash_at_the_end_means_folders() -> None:
    assert IgnoreRules(["build/"]).excludes("x/build", folder=True)


def test_the_last_line_that_fits_decides() -> None:
    rules = IgnoreRules(["*.md", "!README.md", "old/README.md"])

    assert rules.excludes("a.md", folder=False)
    assert not rules.excludes("README.md", folder=False)
    assert rules.excludes("old/README.md", folder=False)
