"""What of a source is sent, and that the same source is always the same bytes."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from fnmesh.client import SourceError
from fnmesh.client.packing import PackedSource, pack


def _names(source: PackedSource) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(source.content)) as archive:
        return archive.namelist()


def _write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    return root


def test_same_files_are_the_same_bytes_whatever_their_times(tmp_path: Path) -> None:
    one = _write(tmp_path / "one", "handler.py", "lib/a.py", "lib/b.py")
    two = _write(tmp_path / "two", "lib/b.py", "lib/a.py", "handler.py")
    os.utime(two / "handler.py", (1, 1))

    assert pack(one).content == pack(two).content


def test_what_is_never_wanted_stays_at_home(tmp_path: Path) -> None:
    root = _write(
        tmp_path / "src", "handler.py", ".git/config", "__pycache__/handler.pyc", "a/node_modules/x/index.js",
        ".venv/bin/python", "fnmesh.toml", ".fnmeshignore", "lib/old.pyc",
    )  # fmt: skip
    (root / "fnmesh.toml").write_text('memory = "1Gi"')
    (root / ".fnmeshignore").write_text("")

    source = pack(root)

    assert _names(source) == ["handler.py"]
    assert source.settings_toml == 'memory = "1Gi"'


def test_fnmeshignore_is_followed(tmp_path: Path) -> None:
    root = _write(tmp_path / "src", "handler.py", "notes.md", "keep.md", "tests/test_a.py", "data/big.bin")
    (root / ".fnmeshignore").write_text("# not code\n*.md\n!keep.md\n/tests/\ndata/*.bin\n")

    assert _names(pack(root)) == ["handler.py", "keep.md"]


def test_execute_bit_is_kept_and_other_modes_are_not(tmp_path: Path) -> None:
    root = _write(tmp_path / "src", "handler.py", "run.sh")
    (root / "run.sh").chmod(0o700)
    (root / "handler.py").chmod(0o600)

    with zipfile.ZipFile(io.BytesIO(pack(root).content)) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}

    assert modes == {"handler.py": 0o644, "run.sh": 0o755}


@pytest.mark.parametrize(
    ("file", "entry", "name"),
    [
        ("hello.py", "handler.py", "hello"),
        ("app.py", "app.py", "single"),
        ("greet.mjs", "index.mjs", "greet"),
    ],
)
def test_a_single_file_becomes_an_entry_file(tmp_path: Path, file: str, entry: str, name: str) -> None:
    source = pack(_write(tmp_path / "single", file) / file)

    assert (_names(source), source.suggested_name) == ([entry], name)


def test_a_zip_is_sent_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "thing.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("handler.py", "x = 1")
        archive.writestr("fnmesh.toml", "concurrency = 2")

    source = pack(file)

    assert source.content == file.read_bytes()
    assert (source.suggested_name, source.settings_toml) == ("thing", "concurrency = 2")


def test_a_link_within_the_source_is_the_file_it_means(tmp_path: Path) -> None:
    root = _write(tmp_path / "src", "lib/handler.py")
    (root / "handler.py").symlink_to("lib/handler.py")

    assert _names(pack(root)) == ["handler.py", "lib/handler.py"]


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "nowhere"])
def test_a_link_out_of_the_source_is_refused(tmp_path: Path, target: str) -> None:
    root = _write(tmp_path / "src", "handler.py")
    (root / "link").symlink_to(target)

    with pytest.raises(SourceError, match="'link' is a link out of the source"):
        pack(root)


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "broken.zip").write_text("x")

    for path, words in (
        ("missing", "no file or directory"),
        ("empty", "nothing to deploy"),
        ("text.txt", "is no function"),
        ("broken.zip", "cannot be read as a zip"),
    ):
        with pytest.raises(SourceError, match=words):
            pack(tmp_path / path)
