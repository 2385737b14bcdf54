"""Directories, lock, address and environment of `fnmesh up`."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.up.environment import child_environment
from cli.up.listen import Listen, claim, parse_listen
from cli.up.places import DataLock, Places, find_places, make_data_dir, make_run_dir


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def places(tmp_path: Path, tmp_run_dir: Path) -> Places:
    found = Places(tmp_path / "data", tmp_run_dir / "run")
    make_data_dir(found)
    return found


def test_private_places(places: Places) -> None:
    make_run_dir(places)

    assert _mode(places.data) == (0o711 if os.geteuid() == 0 else 0o700)
    assert (_mode(places.logs), _mode(places.run / "m")) == (0o700, 0o700)
    assert (_mode(places.run), _mode(places.token_file)) == (0o711, 0o600)


def test_mesh_id_stays_and_token_does_not(places: Places) -> None:
    make_run_dir(places)
    mesh_id, token = (places.data / "mesh_id").read_text(), places.token_file.read_text()
    (places.run / "m" / "stale.sock").touch()

    make_data_dir(places)
    make_run_dir(places)

    assert (places.data / "mesh_id").read_text() == mesh_id
    assert places.token_file.read_text() != token
    assert not (places.run / "m" / "stale.sock").exists()


def test_run_dir_that_is_a_link_is_refused(places: Places, tmp_path: Path) -> None:
    places.run.symlink_to(tmp_path)
    with pytest.raises(CommandError, match="belongs to somebody else"):
        make_run_dir(places)


def test_run_dir_is_short_and_belongs_to_its_data_dir(tmp_path: Path) -> None:
    one = find_places(tmp_path / "one", {})
    assert one.run == find_places(tmp_path / "one", {}).run != find_places(tmp_path / "two", {}).run
    assert len(str(one.run)) < 30
    with pytest.raises(CommandError, match="too long"):
        find_places(tmp_path, {"FNMESH_RUN_DIR": "/tmp/" + "x" * 80})


def test_a_data_dir_has_one_mesh(places: Places) -> None:
    first, second = DataLock(places), DataLock(places)
    assert first.take()
    first.note("http://127.0.0.1:1234")

    with pytest.raises(CommandError, match=rf"process {os.getpid()} and answers at http://127.0.0.1:1234"):
        second.take()

    first.release()
    assert second.take()
    second.release()


def test_a_lock_left_by_a_killed_mesh_tells_so(places: Places) -> None:
    (places.data / "up.lock").write_text('{"pid": 1, "url": ""}')
    lock = DataLock(places)
    assert not lock.take()
    lock.release()


def test_listen_addresses() -> None:
    assert parse_listen("localhost:1").host == "127.0.0.1"
    assert parse_listen("[::1]:8080") == Listen("::1", 8080)
    assert parse_listen("0.0.0.0:80").url == "http://127.0.0.1:80"
    assert [parse_listen(text).is_loopback for text in ("127.0.0.2:1", "[::1]:1", "0.0.0.0:1")] == [
        True, True, False,
    ]  # fmt: skip
    for text in ("8080", "127.0.0.1:x", "example.org:1", "127.0.0.1:70000"):
        with pytest.raises(CommandError):
            parse_listen(text)


def test_a_port_in_use_is_told_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"--listen 127.0.0.1:{port + 1}"):
            claim(Listen("127.0.0.1", port))


def test_port_zero_is_a_free_one() -> None:
    assert claim(Listen("127.0.0.1", 0)).port > 0


def test_children_get_an_environment_of_their_own(places: Places) -> None:
    environ = child_environment(
        {
            "PATH": "/bin", "SECRET_OF_THE_SHELL": "x", "FNMESH_API_KEY": "k", "FNMESH_SERVER": "s",
            "FNMESH_DEMO_LISTEN": "l", "FNMESH_LOG_LEVEL": "debug", "DOCKER_HOST": "unix:///d.sock",
        },
        places,
        Listen("127.0.0.1", 8080),
    )  # fmt: skip

    assert {"PATH", "FNMESH_LOG_LEVEL", "DOCKER_HOST"} <= environ.keys()
    assert not {"SECRET_OF_THE_SHELL", "FNMESH_API_KEY", "FNMESH_SERVER", "FNMESH_DEMO_LISTEN"} & environ.keys()
    assert environ["FNMESH_DATA_DIR"] == str(places.data)
