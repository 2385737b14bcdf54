"""Where a mesh is, and the key for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fnmesh.client import SourceError
from fnmesh.client.address import find_api_key, parse_server


@pytest.mark.parametrize(
    ("text", "target", "url"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("mesh.example", "mesh.example:8080", "http://mesh.example:8080"),
        ("http://h:1/", "h:1", "http://h:1"),
        ("http://h", "h:80", "http://h:80"),
        ("https://h", "h:443", "https://h:443"),
        ("[::1]:8080", "[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_addresses(text: str, target: str, url: str) -> None:
    address = parse_server(text)
    assert (address.target, address.url) == (target, url)


@pytest.mark.parametrize("text", ["http://h/path", "ftp://h", "h:port", ":8080"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="not the address of a mesh"):
        parse_server(text)


def test_key_comes_from_the_environment_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("FNMESH_API_KEY", raising=False)
    assert find_api_key() is None

    (tmp_path / "fnmesh").mkdir()
    file = tmp_path / "fnmesh" / "credentials"
    file.write_text("from-file\n")
    file.chmod(0o600)
    assert find_api_key() == "from-file"

    monkeypatch.setenv("FNMESH_API_KEY", "from-environment")
    assert find_api_key() == "from-environment"


def test_a_key_that_others_may_read_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("FNMESH_API_KEY", raising=False)
    (tmp_path / "fnmesh").mkdir()
    file = tmp_path / "fnmesh" / "credentials"
    file.write_text("x")
    file.chmod(0o644)

    with pytest.raises(SourceError, match="chmod 600"):
        find_api_key()
