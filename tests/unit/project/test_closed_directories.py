"""What may not be looked at is out of reach, and no reason to fail: a PATH often names such directories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from build_svc import sandbox
from deploy_svc.process import toolchain
from tests.support.users import ordinary_user


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A program in a directory that only root may enter, and a closed one even for its owner."""
    program = tmp_path / "closed" / "bin" / "python3"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "closed").chmod(0)
    yield program
    (tmp_path / "closed").chmod(0o700)


def test_a_build_does_not_reach_into_a_closed_directory(closed: Path) -> None:
    with ordinary_user():
        found = [sandbox.reachable(closed), sandbox.reachable(closed.parent)]

    assert found == [False, False]


def test_a_workload_is_given_no_program_in_a_closed_directory(closed: Path) -> None:
    with ordinary_user():
        found = [toolchain.may_execute(closed, None), toolchain.may_execute(closed, 12345)]

    assert found == [False, False]


def test_a_program_for_all_is_found() -> None:
    program = Path("/bin/sh")
    with ordinary_user():
        assert sandbox.reachable(program)
        assert toolchain.may_execute(program, None)
