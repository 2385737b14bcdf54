"""Archives from anybody: what is refused, and that nothing outside the target is ever written."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from build_svc.archive_check import ArchiveLimits, SourceInvalid, check_filename, is_zip, list_files, unpack
from tests.support.archives import Entry, archive, mode

LIMITS = ArchiveLimits(total_bytes=1024 * 1024, entries=50)


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (("../evil.py", b""), "leads out"),
        (("a/../../evil.py", b""), "leads out"),
        (("/etc/passwd", b""), "absolute"),
        (("C:/evil.py", b""), "absolute"),
        (("..\\evil.py", b""), "backslash"),
        (("a\nb.py", b""), "control characters"),
        (("x" * 300, b""), "too long"),
        (("link", b"/etc/passwd", mode(stat.S_IFLNK)), "link"),
        (("pipe", b"", mode(stat.S_IFIFO)), "device or a pipe"),
        (("disk", b"", mode(stat.S_IFBLK)), "device or a pipe"),
    ],
)
def test_an_entry_that_is_not_a_plain_file_inside_is_refused(entry: Entry, word: str, tmp_path: Path) -> None:
    file = archive(("handler.py", b"x = 1"), entry)

    with pytest.raises(SourceInvalid, match=word) as raised:
        unpack(file, tmp_path, LIMITS)

    assert str(raised.value).count(".") >= 1
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_utf8_is_refused() -> None:
    data = archive(("handler.py", b""), ("abc.txt", b"")).getvalue().replace(b"abc.txt", b"a\xffc.txt")

    with pytest.raises(SourceInvalid, match="not UTF-8"):
        list_files(io.BytesIO(data), LIMITS)


def test_a_utf8_name_without_the_flag_is_taken_as_utf8() -> None:
    data = archive(("handler.py", b""), ("abcd.txt", b"")).getvalue().replace(b"abcd.txt", b"\xc3\xa4cd.txt")

    assert "äcd.txt" in [str(path) for path in list_files(io.BytesIO(data), LIMITS)]


def test_a_bomb_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    file = archive(("handler.py", b""), ("zeros", b"\0" * (2 * LIMITS.total_bytes)))

    with pytest.raises(SourceInvalid, match="unpacks to more than 1 MiB"):
        unpack(file, tmp_path, LIMITS)
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_lies_is_found(tmp_path: Path) -> None:
    content = b"\0" * 100_000
    data = bytearray(archive(("handler.py", content)).getvalue())
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<L", data, at + 24, 10)

    with pytest.raises(SourceInvalid):
        unpack(io.BytesIO(bytes(data)), tmp_path, LIMITS)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert written <= 10


def test_too_many_entries_are_refused_without_reading_them() -> None:
    file = archive(*((f"f{number}", b"") for number in range(LIMITS.entries + 1)))

    with pytest.raises(SourceInvalid, match="more than 50 entries"):
        list_files(file, LIMITS)


def test_a_huge_directory_is_refused_by_its_end_record() -> None:
    data = bytearray(archive(("handler.py", b"")).getvalue())
    struct.pack_into("<L", data, data.rindex(b"PK\x05\x06") + 12, 500_000_000)

    with pytest.raises(SourceInvalid, match="more than 50 entries"):
        list_files(io.BytesIO(bytes(data)), LIMITS)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PK\x03\x04" + b"x" * 100, b"PK\x05\x06" + b"\0" * 5])
def test_what_is_cut_off_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(SourceInvalid):
        list_files(io.BytesIO(data), LIMITS)


def test_a_damaged_entry_is_refused(tmp_path: Path) -> None:
    data = bytearray(archive(("handler.py", bytes(range(256)) * 10)).getvalue())
    data[60] ^= 0xFF

    with pytest.raises(SourceInvalid, match=r"handler\.py"):
        unpack(io.BytesIO(bytes(data)), tmp_path, LIMITS)


def test_the_same_name_twice_and_a_file_as_directory_are_refused() -> None:
    with pytest.raises(SourceInvalid, match="twice"):
        list_files(archive(("a", b""), ("./a", b"")), LIMITS)
    with pytest.raises(SourceInvalid, match="both a file and a directory"):
        list_files(archive(("a", b""), ("a/b", b"")), LIMITS)


def test_a_single_directory_is_stripped_only_if_nothing_lies_beside_it(tmp_path: Path) -> None:
    stripped = list_files(archive(("app/handler.py", b""), ("app/lib/x.py", b"")), LIMITS)
    kept = list_files(archive(("handler.py", b""), ("lib/x.py", b"")), LIMITS)
    mac = list_files(archive(("app/handler.py", b""), ("__MACOSX/app/._handler.py", b"")), LIMITS)

    assert [str(path) for path in stripped] == ["handler.py", "lib/x.py"]
    assert [str(path) for path in kept] == ["handler.py", "lib/x.py"]
    assert [str(path) for path in mac] == ["handler.py"]


def test_contents_and_the_executable_bit_survive_and_nothing_else_of_the_mode(tmp_path: Path) -> None:
    def setuid(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFREG | 0o6777) << 16

    total = unpack(archive(("handler.py", b"x = 1"), ("run.sh", b"#!", setuid)), tmp_path, LIMITS)

    assert total == 7
    assert (tmp_path / "handler.py").read_bytes() == b"x = 1"
    assert stat.S_IMODE((tmp_path / "handler.py").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "run.sh").stat().st_mode) == 0o755


def test_file_names() -> None:
    assert check_filename("handler.py") == "handler.py"
    for bad in ("", ".", "..", "a/b.py", "a\\b", "a\0b", "x" * 256):
        with pytest.raises(SourceInvalid):
            check_filename(bad)


def test_zip_is_told_by_its_first_bytes() -> None:
    assert is_zip(archive(("a", b"")))
    assert not is_zip(io.BytesIO(b"def handler(event): ..."))
