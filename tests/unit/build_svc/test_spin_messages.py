"""What mypy and componentize-py write, as sentences for the author of the code."""

from __future__ import annotations

import json
import signal

import pytest

from build_svc.spin.checking import ERRORS_MAX, read_errors, verdict
from build_svc.spin.compiling import host_error
from build_svc.spin.componentizing import Code, Limits, complaint
from tests.support.errors_page import answers

LIMITS = Limits(seconds=60, memory_bytes=1024 * 2**20)
CODE = Code("app.py", None, "seed")


def error(line: int, message: str, file: str = "app.py", severity: str = "error", code: str = "misc") -> str:
    return json.dumps(
        {"file": file, "line": line, "column": 4, "message": message, "hint": None, "code": code, "severity": severity}
    )


def test_all_errors_of_the_authors_files_are_told_and_nothing_else() -> None:
    errors, other = read_errors(
        [
            error(10, 'Argument 1 to "f" has a wrong type', code="arg-type"),
            error(2, "not mine", file="/toolchain/sdk/spin_sdk/http/__init__.py"),
            error(3, "a hint", severity="note"),
            error(7, "Name is not defined", file="lib/util.py", code="name-defined"),
            error(1, "something of ours", file="../check/fnmesh_component_check.py"),
            "not JSON",
        ]
    )

    assert verdict(errors, "app.py") == (
        'MyPy validation failed: app.py:10: error: Argument 1 to "f" has a wrong type  [arg-type]\n'
        "lib/util.py:7: error: Name is not defined  [name-defined]"
    )
    assert other == ["not JSON"]


def test_a_library_that_is_not_there_is_asked_after() -> None:
    errors, _ = read_errors([error(1, 'Library stubs not installed for "requests"', code="import-untyped")])

    assert verdict(errors, "app.py").endswith('for "requests"; is it in requirements.txt?  [import-untyped]')


def test_a_thousand_errors_are_cut() -> None:
    errors, _ = read_errors([error(line, "wrong") for line in range(1, 1001)])
    said = verdict(errors, "app.py").splitlines()

    assert len(said) == ERRORS_MAX + 1
    assert said[-1] == f"... and {1000 - ERRORS_MAX} more"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("attr-defined", "app.py has no IncomingHandler: "),
        ("assignment", "IncomingHandler in app.py does not handle requests: "),
    ],
)
def test_a_handler_that_is_none_is_told_so(code: str, said: str) -> None:
    errors, _ = read_errors([error(1, "any", file="/scratch/check/fnmesh_component_check.py", code=code)])

    assert verdict(errors, "app.py").startswith(said)


def test_nothing_wrong_is_no_verdict() -> None:
    assert verdict([], "app.py") == ""


TRACEBACK = """\
printed before
Traceback (most recent call last):
  File "/0/app.py", line 3, in <module>
    settings.load()
  File "/0/lib/settings.py", line 12, in load
    return parse(text)
  File "/1/yaml/__init__.py", line 99, in parse
    raise YamlError("no such key")
{raised}

Caused by:
    PyErr {{ type: <class 'yaml.YamlError'> }}""".splitlines()


def traceback(raised: str) -> list[str]:
    return [line.format(raised=raised) for line in TRACEBACK]


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        (
            traceback("yaml.YamlError: no such key"),
            1,
            "The code at the top level of app.py failed: lib/settings.py:12: yaml.YamlError: no such key",
        ),
        (
            traceback("KeyboardInterrupt"),
            1,
            "The code at the top level of app.py failed: lib/settings.py:12: KeyboardInt",
        ),
        (
            traceback("MemoryError"),
            1,
            "The code at the top level of app.py (lib/settings.py:12) wants more memory than the 1024 MiB that making"
            " a component may take.",
        ),
        (
            ["memory allocation of 2147483648 bytes failed"],
            -signal.SIGABRT,
            "The code at the top level of app.py wants more memory than the 1024 MiB",
        ),
        (
            traceback("AttributeError: module 'app' has no attribute 'IncomingHandler'"),
            1,
            "app.py has no IncomingHandler: define `class IncomingHandler(http.IncomingHandler)` in it.",
        ),
        (
            ["write beyond capacity of MemoryOutputPipe"],
            1,
            "The code at the top level of app.py writes more than 10,000",
        ),
        ([], -signal.SIGXCPU, "Making the component took longer than its limit of 60 s of CPU time"),
        (["one", "the last word", ""], 1, "componentize-py failed: the last word"),
        ([], 3, "componentize-py failed: it ended with status 3"),
    ],
)
def test_what_componentizing_says(lines: list[str], status: int, said: str) -> None:
    assert complaint(CODE, lines, status, LIMITS).startswith(said)


def test_the_page_of_errors_has_a_failure_of_the_top_level_as_it_is_told() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "/0/app.py", line 9, in <module>',
        "ValueError: no such thing",
    ]
    said = answers("Spin components")["code that raises when it is imported"]

    assert f"The build failed: {complaint(CODE, lines, 1, LIMITS)}" == said


def test_the_hosts_error_is_one_line() -> None:
    lines = ["Error: failed to parse", "", "Caused by:", "    unexpected end at byte 7"]

    assert host_error(lines) == "failed to parse: unexpected end at byte 7"
