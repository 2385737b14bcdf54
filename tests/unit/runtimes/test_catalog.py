"""Entrypoints, versions, command lines and Dockerfiles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runtimes import files
from runtimes.catalog import (
    RUNTIMES,
    Entrypoint,
    Launch,
    NoHandlerFound,
    Placement,
    Runtime,
    command,
    dockerfile,
    find_entrypoint,
    install,
    is_spin_code,
    runtime_base_dockerfile,
    runtime_version,
    server_sources,
)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["handler.py", "app.py", "index.js"], Entrypoint("python", "handler.py")),
        (["main.py", "app.py"], Entrypoint("python", "app.py")),
        (["lib/", "lib/x.py", "main.py"], Entrypoint("python", "main.py")),
        (["index.mjs", "package.json"], Entrypoint("node", "index.mjs")),
        (["index.cjs"], Entrypoint("node", "index.cjs")),
        (["./handler.py"], Entrypoint("python", "handler.py")),
        (["resize.py"], Entrypoint("python", "resize.py")),
        (["resize.js", "package.json", "README.md"], Entrypoint("node", "resize.js")),
        (["app.py", "spin.toml", "handler.py"], Entrypoint("spin", "spin.toml")),
        (["lib/main.rs", "spin.toml"], Entrypoint("spin", "spin.toml")),
        (["app.wasm"], Entrypoint("spin", "app.wasm")),
    ],
)
def test_the_handlers_file_is_found(names: list[str], found: Entrypoint) -> None:
    assert find_entrypoint(names) == found


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (b"import x\nclass IncomingHandler(http.IncomingHandler):\n    pass\n", True),
        (b"class  IncomingHandler:\n", True),
        (b"# class IncomingHandler\ndef handler(event): ...\n", False),
        (b"class IncomingHandlers: ...\n", False),
        (b"\xff\xfe\0", False),
    ],
)
def test_code_for_spin_is_known_by_its_class(code: bytes, found: bool) -> None:
    assert is_spin_code(code) is found


@pytest.mark.parametrize(
    "names",
    [[], ["spin/spin.toml"], ["a.wasm", "b.txt"], ["a.py", "b.py"], ["lib/handler.py"], ["README.md"], ["handler.go"]],
)
def test_a_source_without_a_handlers_file_says_what_is_wanted(names: list[str]) -> None:
    with pytest.raises(NoHandlerFound, match=r"^No handler found: .*handler\.py.*index\.js.*\.$"):
        find_entrypoint(names)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_version_is_that_of_the_files(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a copy of the package with one server file changed
    now = runtime_version.__wrapped__(runtime)
    shutil.copytree(Path(files.__file__).parent, tmp_path / "runtimes")
    monkeypatch.setattr(files, "_HERE", tmp_path / "runtimes")
    same = runtime_version.__wrapped__(runtime)
    with server_sources(runtime)[0].open("a") as file:
        file.write("\n")
    # then
    assert len(now) == 16
    assert int(now, 16) >= 0
    assert now == same != runtime_version.__wrapped__(runtime)


def test_python_is_started_isolated_and_without_the_meshs_packages() -> None:
    place = Placement("/usr/bin/python3", Path("/srv"), Path("/app"), Path("/lib"), Path("/packages"))
    argv = command("python", place, "unix:/s", Launch("handler.py", "hello", "rev-1", timeout_ms=5))
    assert argv[:4] == ["/usr/bin/python3", "-I", "-S", "/srv/serve.py"]
    options = dict(zip(argv[4::2], argv[5::2], strict=True))
    assert options["--listen"] == "unix:/s"
    assert options["--packages"] == "/packages"
    assert options["--timeout-ms"] == "5"


def test_node_is_started_with_the_same_words() -> None:
    place = Placement("/usr/bin/node", Path("/srv"), Path("/app"))
    argv = command("node", place, "tcp:127.0.0.1:80", Launch("index.js", "hello", "rev-1"))
    assert argv[:6] == ["/usr/bin/node", "/srv/serve.cjs", "--listen", "tcp:127.0.0.1:80", "--app", "/app"]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("has_requirements", [True, False])
def test_images_of_functions_install_first_and_run_unprivileged(runtime: Runtime, has_requirements: bool) -> None:
    lines = dockerfile(runtime, "base:1", has_requirements).splitlines()
    text = "\n".join(lines)
    assert lines[0] == "FROM base:1"
    assert ("install" in text) is has_requirements
    assert not has_requirements or text.index("install") < text.index("COPY --chown=1000:1000 app/ /app/")
    assert [line for line in lines if line.startswith("USER")] == ["USER 1000:1000", "USER 65532:65532"]
    assert "tcp:0.0.0.0:8080" in lines[-1]
    assert "ENV " not in text
    assert "@" not in text
    assert "requirements}" not in text


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_images_of_runtimes_hold_the_server(runtime: Runtime) -> None:
    text = runtime_base_dockerfile(runtime, "python:3.12@sha256:" + "0" * 64)
    assert text.startswith("FROM python:3.12@sha256:" + "0" * 64 + "\n")
    assert "COPY server/ /opt/fnmesh/server/" in text
    assert ("httptools==" in text) is (runtime == "python")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_server_is_installed_once_and_readable_by_all(runtime: Runtime, tmp_path: Path) -> None:
    # given
    first = install(runtime, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    # when
    second = install(runtime, tmp_path)
    # then
    assert first == second
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert all(path.stat().st_mode & 0o004 for path in tmp_path.rglob("*"))
    assert (first.lib is not None) is (runtime == "python")
