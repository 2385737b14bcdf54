"""A machine that is no good: port or data directory in use, a disk that is full, one that is read only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fnmesh.client import BuildFailed, DeployFailed, Mesh, ResourceExhausted
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import ROOT, RunningMesh
from tests.support.small_disk import SmallDisk, read_only, small_disk
from tests.support.sources import MakeSource

DISK_MB = 64
PRINTS = "def handler(event, context):\n    print('x' * 2000)\n    return {'edition': %d}\n"
SERVICES = ("registry", "build", "deploy", "invoke", "gateway", "envoy")


@pytest.fixture
def own_mesh() -> Iterator[RunningMesh]:
    """A mesh that is not started yet."""
    running = RunningMesh(environ={"FNMESH_BUILD_LEASE_S": "2"})  # what a full disk stopped goes on soon
    try:
        yield running
    finally:
        running.remove()


@pytest.fixture
def disk(own_mesh: RunningMesh) -> Iterator[SmallDisk]:
    """The disk of `own_mesh`, of DISK_MB; the mesh is stopped before it goes."""
    with small_disk(own_mesh.data_dir, mebibytes=DISK_MB) as mounted:
        try:
            yield mounted
        finally:
            mounted.free()
            own_mesh.remove()


def _up(running: RunningMesh, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of an `up` that is refused."""
    done = running.cli("up", "--listen", "127.0.0.1:0", *arguments, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.usefixtures("undisturbed")
def test_data_directory_in_use(mesh: RunningMesh, tmp_path: Path) -> None:
    link = tmp_path / "by-another-name"
    link.symlink_to(mesh.data_dir)

    for path in (mesh.data_dir, link):
        code, told = _up(mesh, "--data-dir", str(path))

        assert (code, told.count("\n")) == (1, 1), told
        assert f"A mesh already runs on {path}: process {mesh.pid} and answers at {mesh.url}" in told
        assert "stop it first, or give another --data-dir." in told


@pytest.mark.usefixtures("undisturbed")
def test_port_in_use(mesh: RunningMesh, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        for port in (int(mesh.server.rpartition(":")[2]), other.getsockname()[1]):
            told = _up(mesh, "--data-dir", str(tmp_path), "--listen", f"127.0.0.1:{port}")

            assert told == (
                1,
                f"fnmesh: 127.0.0.1:{port} cannot be listened on (Address already in use); stop what uses it, or "
                f"choose another with --listen 127.0.0.1:{port + 1}.\n",
            )
        assert not list((tmp_path / "db").iterdir())


def test_data_directory_that_is_none(own_mesh: RunningMesh, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, why in ((file, "File exists"), (file / "below", "Not a directory"), (Path("/proc/x"), "No such file")):
        code, told = _up(own_mesh, "--data-dir", str(path))

        assert (code, told.count("\n")) == (1, 1), told
        assert f"The data directory {path} cannot be used ({why}" in told
        assert "give another with --data-dir." in told
    assert own_mesh.processes() == []


@pytest.mark.mount
def test_read_only_data_directory(own_mesh: RunningMesh) -> None:
    place = own_mesh.data_dir / "place"
    place.mkdir()
    with read_only(place):
        told = _up(own_mesh, "--data-dir", str(place))

    assert told == (
        1,
        f"fnmesh: The data directory {place} cannot be used (Read-only file system); give another with --data-dir.\n",
    )
    assert list(place.iterdir()) == []
    assert own_mesh.processes() == []


@pytest.mark.mount
@pytest.mark.parametrize("service", ["registry", "build", "deploy", "invoke"])
def test_a_service_on_a_read_only_disk_says_so(own_mesh: RunningMesh, service: str) -> None:
    data, run = own_mesh.data_dir / "data", own_mesh.data_dir / "run"
    for made in (data, run):
        made.mkdir()
    (run / "token").write_text("t" * 32)
    (data / "mesh_id").write_text("0123456789ab\n")
    with read_only(data):
        environ = {**own_mesh.environ, "FNMESH_DATA_DIR": str(data), "FNMESH_RUN_DIR": str(run)}
        done = subprocess.run(
            [sys.executable, "-m", f"{service}_svc"], env=environ, cwd=ROOT,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"fnmesh {service}: The disk of the data directory {data} is read only: make it writable, then call again."
    )
    assert "Traceback" not in done.stderr


@pytest.mark.mount
def test_disk_full(own_mesh: RunningMesh, disk: SmallDisk, make_source: MakeSource, tmp_path: Path) -> None:
    mesh = own_mesh.start()
    full = f"The disk of the data directory {mesh.data_dir} is full: free some space there, then call again."
    mesh.cli("deploy", str(make_source("old", **{"handler.py": PRINTS % 1})), "--target", "process")
    with Mesh(mesh.server) as client, httpx.Client(base_url=mesh.url, timeout=30, trust_env=False) as http:
        key = client.create_key(["invoke"])
        before = (client.revisions("old"), client.builds("old"), client.keys())
        pids = [mesh.service_pid(name) for name in SERVICES]

        under_way = client.deploy(make_source("under-way", **{"handler.py": PRINTS % 3}), target="process")
        disk.fill()

        for _ in range(50):  # running goes on, and so does what it prints and what is recorded of it
            assert http.get("/api/old").json() == {"edition": 1}
            assert client.invoke("old", {}).status == 200
        new = make_source("new", **{"handler.py": PRINTS % 2, "more.txt": os.urandom(400_000).hex()})
        refused = mesh.cli("deploy", str(new), "--target", "process", check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert refused.stderr.strip().removeprefix("fnmesh: ") == full
        for call in (lambda: client.create_key(["invoke"]), lambda: client.env_set("old", {"A": "x" * 60_000})):
            with pytest.raises(ResourceExhausted) as told:
                call()
            assert (str(told.value), told.value.reason) == (full, "DISK_FULL")
        assert (client.revisions("old"), client.builds("old"), client.keys()) == before
        assert [one.display_name for one in client.list()] == ["old", "under-way"]
        assert disk.is_full
        assert [mesh.service_pid(name) for name in SERVICES] == pids

        disk.free()

        try:  # what was accepted ends, whatever it was doing at that moment
            assert under_way.wait(60).serving_revision.endswith("/1")
        except (BuildFailed, DeployFailed) as error:
            assert full in str(error) or "No space left on device" in str(error), error
        mesh.cli("deploy", str(new), "--target", "process")
        assert http.get("/api/new").json() == {"edition": 2}
        client.env_set("old", {"A": "x" * 60_000})
        eventually_sync(lambda: http.get("/api/old").json() == {"edition": 1}, 10)
        assert client.revoke_key(key.api_key.name).HasField("revoke_time")
        eventually_sync(lambda: len(client.executions("old", 1000)) >= 100, 30)
        assert [mesh.service_pid(name) for name in SERVICES] == pids
    assert mesh.stop() == 0, mesh.errors()

    disk.fill()  # nor does one start on a full disk

    answer = _up(mesh, "--data-dir", str(mesh.data_dir))

    assert answer == (
        1,
        f"fnmesh: The data directory {mesh.data_dir} cannot be used (No space left on device); "
        "free some space there, or give another with --data-dir.\n",
    )
    assert mesh.processes() == []
    disk.free()
    mesh.start()
    eventually_sync(lambda: httpx.get(f"{mesh.url}/api/new", trust_env=False).status_code == 200, 30)
    assert mesh.stop() == 0, mesh.errors()
