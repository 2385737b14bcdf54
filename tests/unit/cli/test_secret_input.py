"""How `fnmesh secret set` takes a value: from stdin or an unseen prompt, never from the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.eventually import eventually_sync

_NOBODY = ("--server", "127.0.0.1:1")  # nothing listens on port 1
_VALUE = "hush-hush"


def _set(*arguments: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "secret", "set", *arguments, *_NOBODY],
        input=stdin, capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stdin", "code", "told"),
    [
        (b"", 2, "is empty; give it on stdin: `fnmesh secret set FUNCTION TOKEN < file`."),
        (b"\n", 2, "is empty; give it on stdin: `fnmesh secret set FUNCTION TOKEN < file`."),
        (b"\xff\xfe", 1, "is not UTF-8 text; encode it first, in base64 for one."),
        (b"x" * (1 << 20), 1, "has more than 65,536 bytes, the most that secrets may have."),
    ],
    ids=["nothing", "newline", "not-utf-8", "too-long"],
)
def test_what_is_no_value_is_refused_before_the_mesh_is_asked(stdin: bytes, code: int, told: str) -> None:
    done = _set("hello", "TOKEN", stdin=stdin)

    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode() == f"fnmesh: The value of TOKEN {told}\n"


@pytest.mark.parametrize("given", [("hello", "TOKEN", _VALUE), ("hello", "TOKEN", "--value", _VALUE)])
def test_the_command_line_has_no_place_for_a_value(given: tuple[str, ...]) -> None:
    done = _set(*given, stdin=b"")

    assert done.returncode == 2
    assert done.stderr.startswith(b"fnmesh: ")
    assert _VALUE.encode() not in done.stderr


@pytest.mark.parametrize("given", ["TOKEN=hush-hush", "1TOKEN"])
def test_what_is_no_key_is_not_repeated(given: str) -> None:
    """Somebody who writes KEY=VALUE has the value in the shell's history already; not in a log of ours too."""
    done = _set("hello", given, stdin=b"x")

    assert done.returncode == 2
    assert done.stderr.decode() == (
        "fnmesh: That is not the name of a secret, which has letters, digits and _ only; the value comes on stdin.\n"
    )


def test_a_prompt_does_not_show_what_is_typed() -> None:
    ours, theirs = os.openpty()
    said = b""
    try:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "cli", "secret", "set", "hello", "TOKEN", *_NOBODY],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        os.set_blocking(ours, False)

        def heard(word: bytes) -> bool:
            nonlocal said
            try:
                said += os.read(ours, 4096)
            except BlockingIOError:
                pass
            except OSError:  # the other end is closed
                return word in said or process.poll() is not None
            return word in said

        eventually_sync(lambda: heard(b"(not shown): "), 30)
        os.write(ours, f"{_VALUE}\n".encode())
        eventually_sync(lambda: heard(b"No mesh answers"), 30)
        assert process.wait(30) == 1
    finally:
        os.close(ours)

    assert b"Value of TOKEN (not shown): " in said
    assert _VALUE.encode() not in said
