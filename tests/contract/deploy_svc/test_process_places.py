"""Output files, directories and the launcher of the process target."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy_svc.domain import LogStream
from deploy_svc.ports import OutputLine
from deploy_svc.process.output_file import OutputFiles
from deploy_svc.process.toolchain import first_closed, may_execute
from fnmesh.registry.v1 import function_pb2 as f
from tests.support.deploy_harness import DeployHarness, Revision, harness
from tests.support.eventually import eventually

UID = "fn-abcdefghijkl"


@pytest.fixture
async def files() -> AsyncIterator[OutputFiles]:
    async with asyncio.TaskGroup() as tasks:
        one = OutputFiles(cut_bytes=1000, behind_bytes=3 << 20)
        running = tasks.create_task(one.run())
        yield one
        running.cancel()


class Written:
    """A file that a workload appends to, and what a follower has read of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ended = False
        self.lines: list[OutputLine] = []
        self._file = path.open("ab", buffering=0)

    def write(self, text: bytes) -> None:
        self._file.write(text)

    async def follow(self, files: OutputFiles, position: int = 0) -> None:
        async for lines in files.follow(self.path, position, lambda: self.ended):
            self.lines += lines

    def texts(self) -> list[bytes]:
        return [line.text for line in self.lines]

    def close(self) -> None:
        self._file.close()


async def test_lines_come_as_they_are_written(files: OutputFiles, tmp_path: Path) -> None:
    output = Written(tmp_path / "out")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(output.follow(files))
        output.write(b"one\r\ntw")
        await eventually(lambda: output.texts() == [b"one"])
        output.write(b"o\nno end")
        await eventually(lambda: output.texts() == [b"one", b"two", b"no end"])  # after a while without an end
        output.write(b"last")
        output.ended = True
    assert output.texts() == [b"one", b"two", b"no end", b"last"]
    again = Written(tmp_path / "out")
    again.ended = True
    await again.follow(files, output.lines[1].position)
    assert again.texts() == [b"no endlast"]
    output.close()
    again.close()


async def test_a_large_file_is_cut_and_nothing_is_lost(files: OutputFiles, tmp_path: Path) -> None:
    output = Written(tmp_path / "out")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(output.follow(files))
        for n in range(20):
            output.write(b"%0100d\n" % n * 3)
            await eventually(lambda: len(output.lines) == 3 * (n + 1))  # noqa: B023 -- awaited at once
        output.ended = True
    assert [int(text) for text in output.texts()] == [n for n in range(20) for _ in range(3)]
    assert output.path.stat().st_size < 2000
    output.close()


async def test_what_comes_too_fast_is_dropped_and_said_so(files: OutputFiles, tmp_path: Path) -> None:
    output = Written(tmp_path / "out")
    output.write(b"x" * 99 + b"\n" * 1)
    for _ in range(50):
        output.write((b"y" * 99 + b"\n") * 1000)
    output.ended = True
    await output.follow(files)
    assert output.lines[0].stream is LogStream.SYSTEM and b"dropped" in output.lines[0].text
    assert len(output.lines) == 1001 and output.lines[-1].text == b"y" * 99
    assert output.path.stat().st_size == 0, "what is lost must not fill the disk either"
    output.close()


def test_the_way_to_a_file_is_checked_for_a_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    program = tmp_path / "program"
    program.write_text("")
    program.chmod(0o755)
    assert may_execute(program, None) and not may_execute(program, 54321)
    closed = first_closed(tmp_path, 54321)
    assert closed is not None and tmp_path.is_relative_to(closed)
    assert first_closed(Path("/usr/bin"), 54321) is None


@pytest.mark.root
async def test_a_data_directory_that_functions_cannot_enter_is_named() -> None:
    async with harness("unix:///nowhere/docker.sock") as mesh:
        mesh.data.chmod(0o700)
        async with mesh.here(), mesh.client() as client:
            await mesh.want(UID, 1, Revision({"app/handler.py": "def handler(event): return 1\n"}))
            failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED)
            assert f"chmod o+x {mesh.data}" in failed.message


async def test_a_workload_that_cannot_be_executed_says_why() -> None:
    async with harness("unix:///nowhere/docker.sock") as mesh:
        broken = mesh.base / "python"
        broken.write_text("#!/nothing/of/this/name\n")
        broken.chmod(0o755)
        mesh.settings["FNMESH_WORKLOAD_PYTHON"] = str(broken)
        await deploy_fails(mesh, "The workload could not be started")


async def deploy_fails(mesh: DeployHarness, why: str) -> None:
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, Revision({"app/handler.py": "def handler(event): return 1\n"}))
        failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED)
        assert "code 126" in failed.message and why in failed.message, failed.message
