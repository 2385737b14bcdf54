"""Encryption of env values."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mesh.main import StartupError
from mesh.secrets_key import DecryptionError, EnvCipher, load_cipher


def test_what_is_bound_to_one_place_cannot_be_read_at_another() -> None:
    cipher = EnvCipher(bytes(32))
    stored = cipher.encrypt({"A": "ä", "B": ""}, "function:fn-a")
    assert b"A" not in stored[13:] or b'"A"' not in stored
    assert cipher.decrypt(stored, "function:fn-a") == {"A": "ä", "B": ""}
    assert cipher.encrypt({"A": "1"}, "x") != cipher.encrypt({"A": "1"}, "x")
    altered = stored[:-1] + bytes([stored[-1] ^ 1])
    for data, place in ((stored, "function:fn-b"), (altered, "function:fn-a"), (b"\x01abc", "function:fn-a")):
        with pytest.raises(DecryptionError):
            cipher.decrypt(data, place)
    with pytest.raises(DecryptionError):
        EnvCipher(bytes(31) + b"\x01").decrypt(stored, "function:fn-a")


def test_an_empty_env_takes_no_bytes() -> None:
    cipher = EnvCipher(bytes(32))
    assert cipher.encrypt({}, "x") == b"" and cipher.decrypt(b"", "x") == {}


def test_the_key_file_is_made_once_whoever_asks(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secrets.key"
    with ThreadPoolExecutor(8) as pool:
        ciphers = list(pool.map(lambda _: load_cipher(path), range(16)))
    stored = ciphers[0].encrypt({"A": "1"}, "x")
    assert all(cipher.decrypt(stored, "x") == {"A": "1"} for cipher in ciphers)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "zz", "00" * 31])
def test_what_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secrets.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(StartupError):
        load_cipher(path)


@pytest.mark.root  # gives files away
@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o400, True), (0o444, False), (0o460, False)])
def test_a_key_that_somebody_else_gives_may_be_read_by_its_group(tmp_path: Path, mode: int, taken: bool) -> None:
    """As a Secret of Kubernetes is: root's, for the group of the pod."""
    path = tmp_path / "secrets.key"
    path.write_text("00" * 32)
    path.chmod(mode)
    os.chown(path, 65534, 65534)
    if taken:
        load_cipher(path)
    else:
        with pytest.raises(StartupError, match="can be read by others"):
            load_cipher(path)


def test_an_own_key_may_be_read_by_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    path.write_text("00" * 32)
    path.chmod(0o640)
    with pytest.raises(StartupError, match="can be read by others"):
        load_cipher(path)
