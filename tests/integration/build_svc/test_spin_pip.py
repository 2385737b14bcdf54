"""pip as components have it run: it unpacks wheels, and runs nothing of them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pip
import pytest

from build_svc.installers import PIP_OPTIONS
from build_svc.spin import run_pip

_WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(directory: Path, *needs: str) -> Path:
    """A wheel of `thing`, which needs these in turn."""
    path = directory / "thing-1-py3-none-any.whl"
    metadata = "Metadata-Version: 2.1\nName: thing\nVersion: 1\n" + "".join(f"Requires-Dist: {one}\n" for one in needs)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing.py", "")
        archive.writestr("thing-1.dist-info/METADATA", metadata)
        archive.writestr("thing-1.dist-info/WHEEL", _WHEEL)
        archive.writestr("thing-1.dist-info/RECORD", "")
    return path


def install(directory: Path, what: str) -> subprocess.CompletedProcess[str]:
    argv = [
        *(sys.executable, "-I", str(run_pip.__file__), pip.__path__[0], *PIP_OPTIONS, "--no-index"),
        *("--only-binary=:all:", "--platform", "any", "--implementation", "py", "--abi", "none"),
        *("--python-version", "3.12", "--target", str(directory / "packages"), what),
    ]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(directory)}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environ, timeout=120)


def test_a_wheel_is_installed(tmp_path: Path) -> None:
    done = install(tmp_path, str(wheel(tmp_path)))

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "packages/thing.py").exists()


@pytest.mark.parametrize("by_a_wheel", [False, True])
def test_what_has_to_be_run_to_be_installed_is_not(tmp_path: Path, by_a_wheel: bool) -> None:
    """Also where it is a wheel that asks for it, of which no requirements.txt tells."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")

    done = install(tmp_path, str(wheel(tmp_path, f"library @ file://{library}")) if by_a_wheel else str(library))

    assert done.returncode != 0
    assert run_pip.REFUSED in done.stdout + done.stderr
    assert not (tmp_path / "ran").exists()
