"""A Spin function as its author has it: from a directory and from a single file, called, changed and rolled back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import spin_toolchain
from tests.support.running_mesh import RunningMesh

pytestmark = [pytest.mark.wasmtime, pytest.mark.timeout(420)]  # the first one may install the toolchain


@pytest.fixture(scope="module")
def spin_mesh() -> Iterator[RunningMesh]:
    """A mesh whose builder has the toolchain and the component of examples/hello_spin."""
    work = Path(tempfile.mkdtemp(prefix="fnm-spin-", dir="/tmp"))
    running = RunningMesh(environ=spin_toolchain.lent(work))
    try:
        yield running.start()
        assert running.stop() == 0, running.errors()
    finally:
        running.remove()
        shutil.rmtree(work, ignore_errors=True)


def ask(mesh: RunningMesh, path: str) -> object:
    answer = httpx.get(f"{mesh.url}/api/{path}", timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_directory_is_deployed_and_rolled_back(spin_mesh: RunningMesh) -> None:
    done = spin_mesh.cli("deploy", str(spin_toolchain.HELLO))
    shown = spin_mesh.cli_json("show", "hello_spin")
    first = ask(spin_mesh, "hello_spin?name=Ada")
    spin_mesh.cli("env", "set", "hello_spin", "GREETING=hi")
    again = spin_mesh.cli("deploy", str(spin_toolchain.HELLO))
    builds = spin_mesh.cli_json("builds", "hello_spin")["builds"]
    back = spin_mesh.cli("rollback", "hello_spin", "--to", "1").stdout

    assert done.stdout.endswith("/api/hello_spin\n")
    assert "componentize" not in done.stderr  # the toolchain brought the component along
    assert " % validate\n" in done.stderr
    assert first == {"message": "Hello, Ada!"}
    assert shown["function"]["runtime"] == "RUNTIME_SPIN"
    assert "nothing to build" in again.stderr
    assert [build["state"] for build in builds] == ["BUILD_STATE_DONE"] * 2
    assert back == "hello_spin serves revision 1.\n"
    assert ask(spin_mesh, "hello_spin") == {"message": "Hello, world!"}


def test_a_single_file_is_deployed(spin_mesh: RunningMesh) -> None:
    spin_mesh.cli("deploy", str(spin_toolchain.HELLO / "app.py"), "--name", "single", "--runtime", "spin")

    assert ask(spin_mesh, "single?name=Bob") == {"message": "Hello, Bob!"}


def test_a_failed_build_leaves_what_serves_as_it_is(spin_mesh: RunningMesh, tmp_path: Path) -> None:
    spin_mesh.cli("deploy", str(spin_toolchain.HELLO / "app.py"), "--name", "kept")
    (tmp_path / "app.py").write_text((spin_toolchain.HELLO / "app.py").read_text() + "\nnumber: int = 'text'\n")
    failed = spin_mesh.cli("deploy", str(tmp_path / "app.py"), "--name", "kept", check=False)

    assert failed.returncode == 1
    assert "fnmesh: The build failed: MyPy validation failed: app.py:" in failed.stderr
    assert ask(spin_mesh, "kept") == {"message": "Hello, world!"}
