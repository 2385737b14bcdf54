"""Deterministic tars, and what must not get into one."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from build_svc.tree import TreeInvalid, pack, take_over


def packed(parts: dict[str, Path], comment: str = "c", left_out: frozenset[str] = frozenset()) -> bytes:
    out = io.BytesIO()
    pack(parts, out, comment=comment, left_out=left_out)
    return out.getvalue()


def fill(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (len(name), len(name)))
    return root


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", ["a.py", "b/c.py", "b/d.py"])
    two = fill(tmp_path / "two", ["b/d.py", "b/c.py", "a.py"])

    assert packed({"app": one}) == packed({"app": two})
    assert packed({"app": one}) != packed({"app": one}, comment="another build")


def test_places_and_what_is_left_out(tmp_path: Path) -> None:
    app = fill(tmp_path / "app", ["index.js", "node_modules/old.js"])
    modules = fill(tmp_path / "modules", ["new.js"])

    data = packed({"app": app, "app/node_modules": modules}, left_out=frozenset({"app/node_modules"}))

    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["app", "app/index.js", "app/node_modules", "app/node_modules/new.js"]
        assert tar.pax_headers["comment"] == "c"


def test_links_stay_inside(tmp_path: Path) -> None:
    root = fill(tmp_path / "app", ["a.py", "b/c.py"])
    (root / "b/link").symlink_to("../a.py")
    assert packed({"app": root})

    for target in ("/etc/passwd", "../../x"):
        (root / "b/bad").symlink_to(target)
        with pytest.raises(TreeInvalid, match="leads out"):
            packed({"app": root})
        (root / "b/bad").unlink()


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    root = fill(tmp_path / "app", ["a.py"])
    os.mkfifo(root / "pipe")

    with pytest.raises(TreeInvalid, match="pipe"):
        packed({"app": root})


def test_taking_over_leaves_nobody_else_a_way_to_write(tmp_path: Path) -> None:
    root = fill(tmp_path / "app", ["a.py", "b/c.py"])
    outside = fill(tmp_path / "outside", ["x"]) / "x"
    outside.chmod(0o600)
    (root / "link").symlink_to(outside)
    (root / "a.py").chmod(0o6777)
    (root / "b").chmod(0o777)

    take_over(root)

    assert oct((root / "a.py").stat().st_mode & 0o7777) == "0o755"
    assert oct((root / "b").stat().st_mode & 0o7777) == "0o755"
    assert oct(outside.stat().st_mode & 0o7777) == "0o600"
