"""The files that a component may read, laid out where it sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from build_svc.domain import BuildFailed
from build_svc.spin.artifact import lay_out_files
from runtimes.spin.manifest import Mount, SpinApp


def laid_out(tmp_path: Path, *mounts: Mount, exclude: tuple[str, ...] = ()) -> list[str]:
    for name in ("static/a.css", "static/deep/b.css", "static/secret.key", "data.json"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(name)
    (tmp_path / "source" / "link").symlink_to("/etc/passwd")
    app = SpinApp(name="a", component="a", files=mounts, exclude_files=exclude)
    lay_out_files(app, tmp_path / "source", tmp_path / "files")
    return sorted(one.relative_to(tmp_path / "files").as_posix() for one in (tmp_path / "files").rglob("*.*"))


@pytest.mark.parametrize(
    ("mount", "seen"),
    [
        (Mount("static/*"), ["static/a.css", "static/deep/b.css", "static/secret.key"]),
        (Mount("static/**/*.css"), ["static/a.css", "static/deep/b.css"]),
        (Mount("*.json"), ["data.json"]),
        (Mount("static", "/"), ["a.css", "deep/b.css", "secret.key"]),
        (Mount("static/deep", "/css"), ["css/b.css"]),
        (Mount("data.json", "/etc/data.json"), ["etc/data.json"]),
        (Mount("data.json", "/"), ["data.json"]),
    ],
)
def test_patterns_and_directories(tmp_path: Path, mount: Mount, seen: list[str]) -> None:
    assert laid_out(tmp_path, mount) == seen


def test_excluded_files_and_links_stay_behind(tmp_path: Path) -> None:
    seen = laid_out(tmp_path, Mount("static/**/*"), Mount("link*"), exclude=("static/*.key",))

    assert seen == ["static/a.css", "static/deep/b.css"]


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ([Mount("nothing/*")], "there is no 'nothing/\\*', which it lists in files"),
        ([Mount("static/***x")], "is no pattern|there is no"),
        ([Mount("data.json", "/x"), Mount("static", "/x")], "would be a file and a directory"),
    ],
)
def test_what_cannot_be_laid_out_is_told(tmp_path: Path, mounts: list[Mount], said: str) -> None:
    with pytest.raises(BuildFailed, match=f"^spin.toml: .*({said})"):
        laid_out(tmp_path, *mounts)
