"""Artifacts are unpacked completely, inside their place, and cannot be written afterwards."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_svc.process.unpacking import remove_tree, unpack
from mesh.errors import FailedPrecondition


def tar(*members: tuple[str, str | Callable[[tarfile.TarInfo], None]]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, what in members:
            info = tarfile.TarInfo(name)
            if callable(what):
                what(info)
                archive.addfile(info)
            else:
                info.size, info.mtime = len(what), 1_000_000
                archive.addfile(info, io.BytesIO(what.encode()))
    buffer.seek(0)
    return buffer


def symlink(target: str) -> Callable[[tarfile.TarInfo], None]:
    def make(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = tarfile.SYMTYPE, target

    return make


def hardlink(target: str) -> Callable[[tarfile.TarInfo], None]:
    def make(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = tarfile.LNKTYPE, target

    return make


def device(info: tarfile.TarInfo) -> None:
    info.type = tarfile.CHRTYPE


def program(info: tarfile.TarInfo) -> None:
    info.mode = 0o6777


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "place"
    path.mkdir()
    return path


def test_files_links_and_modes(place: Path) -> None:
    unpack(tar(("app/a.py", "x"), ("app/run", program), ("b", symlink("app/a.py")), ("c", hardlink("app/a.py"))), place)
    assert (place / "b").read_text() == (place / "c").read_text() == "x"
    assert (place / "app/a.py").stat().st_mode & 0o7777 == 0o444
    assert (place / "app/run").stat().st_mode & 0o7777 == 0o555
    assert (place / "app").stat().st_mode & 0o777 == 0o555
    assert (place / "app/a.py").stat().st_mtime == 1_000_000
    remove_tree(place)
    assert not place.exists()


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", "x")],
        [("/evil", "x")],
        [("a/../../evil", "x")],
        [("dev", device)],
        [("link", symlink("/etc/passwd"))],
        [("link", symlink("../outside"))],
        [("a/link", symlink("../../outside"))],
        [("hard", hardlink("../outside"))],
        [("hard", hardlink("nothing"))],
        [("a", "x"), ("a", "y")],
    ],
)
def test_what_wants_to_be_elsewhere_is_refused(place: Path, members: list[tuple[str, str]]) -> None:
    with pytest.raises((FailedPrecondition, OSError)):
        unpack(tar(*members), place)
    assert os.listdir(place.parent) == ["place"]


def test_nothing_is_written_through_a_link(place: Path) -> None:
    outside = place.parent / "outside"
    outside.mkdir()
    with pytest.raises((FailedPrecondition, OSError)):
        unpack(tar(("d", symlink(str(outside))), ("d/file", "x")), place)
    assert list(outside.iterdir()) == []


def test_a_broken_tar_is_named(place: Path) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        unpack(io.BytesIO(b"not a tar" * 1000), place)
    assert refused.value.reason == "ARTIFACT_BROKEN"
