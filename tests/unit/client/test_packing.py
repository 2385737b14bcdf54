"""What of a source is sent, and that the same source is always the same bytes."""

from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path

import pytest

from fnmesh.client import SourceError
from fnmesh.client.packing import MAX_FILES, PackedSource, pack
from tests.support.archives import MIB, archive, crowd


def _names(source: PackedSource) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(source.content)) as packed:
        return packed.namelist()


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


@pytest.mark.parametrize(
    ("file", "sent", "name"),
    [("greet.py", "greet.py", "greet"), ("app.py", "app.py", "single"), ("to-greet.py", "app.py", "to-greet")],
)
def test_a_single_file_for_spin_is_sent_as_it_is(tmp_path: Path, file: str, sent: str, name: str) -> None:
    code = b"class IncomingHandler(http.IncomingHandler): ...\n"
    _write(tmp_path / "single", file)
    (tmp_path / "single" / file).write_bytes(code)

    source = pack(tmp_path / "single" / file)

    assert (source.filename, source.content, source.suggested_name) == (sent, code, name)


def test_a_component_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "to-greet.wasm").write_bytes(b"\0asm")

    assert pack(tmp_path / "to-greet.wasm") == PackedSource("to-greet.wasm", b"\0asm", "to-greet")


def test_a_zip_is_sent_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "thing.zip"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("handler.py", "x = 1")
        made.writestr("fnmesh.toml", "concurrency = 2")

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


def test_names_and_texts_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    named = _write(tmp_path / "named", "handler.py")
    (named / os.fsdecode(b"caf\xe9.txt")).touch()
    settings = _write(tmp_path / "settings", "handler.py")
    (settings / "fnmesh.toml").write_bytes(b'description = "caf\xe9"')
    ignoring = _write(tmp_path / "ignoring", "handler.py")
    (ignoring / ".fnmeshignore").write_bytes(b"caf\xe9")

    for root, words in (
        (named, r"The name 'caf\xe9.txt' is not UTF-8"),
        (settings, "fnmesh.toml' is not UTF-8"),
        (ignoring, ".fnmeshignore' is not UTF-8"),
    ):
        with pytest.raises(SourceError, match=re.escape(words)):
            pack(root)
    (named / ".fnmeshignore").write_text("*.txt")
    assert _names(pack(named)) == ["handler.py"]


def test_a_pattern_that_is_none_is_told(tmp_path: Path) -> None:
    root = _write(tmp_path / "src", "handler.py")
    (root / ".fnmeshignore").write_text("[z-a]\n")

    with pytest.raises(SourceError, match=r"'\[z-a\]' in \.fnmeshignore is no pattern"):
        pack(root)


def test_a_zip_is_not_trusted_with_memory(tmp_path: Path) -> None:
    crowded, large = tmp_path / "crowded.zip", tmp_path / "large.zip"
    crowded.write_bytes(crowd(MAX_FILES + 1))
    large.write_bytes(archive(("handler.py", b""), ("fnmesh.toml", b"#" * (2 * MIB))).getvalue())

    for file, words in ((crowded, "has more than 20,000 entries"), (large, "is larger than 1 MiB")):
        with pytest.raises(SourceError, match=words):
            pack(file)


def test_a_zip_with_a_bad_name_is_for_the_mesh_to_judge(tmp_path: Path) -> None:
    file = tmp_path / "latin.zip"
    file.write_bytes(archive(("handler.py", b""), ("grün.txt", b"")).getvalue().replace("ü".encode(), b"\xff\xfe"))

    assert pack(file).content == file.read_bytes()
