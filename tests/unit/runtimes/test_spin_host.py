"""Which host program is found, and how it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtimes.spin.host import Host, Serving, compile_argv, executable_copy, find_host, serve_argv


def program(directory: Path, name: str, says: str) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_spin_goes_before_wasmtime(tmp_path: Path) -> None:
    wasmtime = program(tmp_path / "a", "wasmtime", "wasmtime 49.0.3 (f96eabaa1 2026-10-14)")
    environ = {"PATH": f"{tmp_path / 'a'}:{tmp_path / 'b'}"}
    assert find_host(environ=environ) == Host("wasmtime", wasmtime, "49.0.3")
    spin = program(tmp_path / "b", "spin", "spin 3.4.1 (abc 2025-10-01)")
    assert find_host(environ=environ) == Host("spin", spin, "3.4.1")


def test_a_named_program_is_the_only_one_looked_for(tmp_path: Path) -> None:
    program(tmp_path, "wasmtime", "wasmtime 1.0.0")
    named = program(tmp_path / "x", "spin-canary", "spin 4.0.0-pre0")
    environ = {"PATH": str(tmp_path)}
    assert find_host(str(named), environ=environ) == Host("spin", named, "4.0.0-pre0")
    assert find_host("/nowhere/wasmtime", environ=environ) is None


@pytest.mark.parametrize("says", ["", "command not understood"])
def test_a_program_that_tells_no_version_is_none(tmp_path: Path, says: str) -> None:
    named = program(tmp_path, "wasmtime", says)
    assert find_host(str(named)) is None


def test_the_script_of_the_optional_extra_is_not_taken_for_the_program(tmp_path: Path) -> None:
    script = program(tmp_path, "wasmtime", "wasmtime 1.0.0 # from wasmtime_cli import main")
    found = find_host(environ={"PATH": str(tmp_path)}, toolchain=tmp_path / "toolchain")
    assert found is None or found.path != script


def test_a_copy_for_all_users_is_made_once(tmp_path: Path) -> None:
    original = program(tmp_path, "wasmtime", "wasmtime 1.0.0")
    original.chmod(0o600)
    copy = executable_copy(original, tmp_path / "toolchain")
    assert copy.stat().st_mode & 0o777 == 0o755 and copy.read_bytes() == original.read_bytes()
    made = copy.stat().st_ino
    assert executable_copy(original, tmp_path / "toolchain") == copy and copy.stat().st_ino == made
    assert find_host(str(copy)) == Host("wasmtime", copy, "1.0.0")


def test_no_value_is_on_a_command_line(tmp_path: Path) -> None:
    host = Host("wasmtime", Path("/x/wasmtime"), "1.0.0")
    serving = Serving("127.0.0.1:1", 1500, 1 << 20, ["SPIN_VARIABLE_A"], tmp_path, tmp_path / "files", 7)
    argv = serve_argv(host, Path("/c.cwasm"), serving)
    assert argv[:4] == ["/x/wasmtime", "serve", "--addr", "127.0.0.1:1"] and argv[-1] == "/c.cwasm"
    assert "timeout=1500ms,max-memory-size=1048576,trap-on-grow-failure=y" in argv
    assert [argv[n + 1] for n, word in enumerate(argv) if word == "--env"] == ["SPIN_VARIABLE_A"]
    assert [argv[n + 1] for n, word in enumerate(argv) if word == "--dir"] == [
        f"{tmp_path}::/fnmesh-key-value",
        f"{tmp_path / 'files'}::/",
    ]
    assert argv[argv.index("--max-instance-reuse-count") + 1] == "7"
    assert compile_argv(host, Path("/in.wasm"), Path("/out"))[-3:] == ["-o", "/out", "/in.wasm"]
    spin = serve_argv(Host("spin", Path("/x/spin"), "3"), Path("/spin.toml"), serving)
    assert spin == ["/x/spin", "up", "--from", "/spin.toml", "--listen", "127.0.0.1:1", "--state-dir", str(tmp_path)]
