"""Encryption of env values and other secrets at rest: AES-256-GCM under a key in a file."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.main import StartupError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORMAT = b"\x01"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class DecryptionError(Exception):
    """The bytes were not encrypted for this place with this key."""


class EnvCipher:
    """Encrypts env maps. What was encrypted for one place (`bound_to`) cannot be read at another."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._fingerprint_key = hmac.digest(key, b"fnmesh request fingerprints", "sha256")

    @cached_property
    def _aead(self) -> AESGCM:
        """Loads the library with the first value: a builder that is sent no password does without it."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)

    def encrypt(self, env: Mapping[str, str], bound_to: str) -> bytes:
        """The map as it is stored; no bytes for an empty one."""
        if not env:
            return b""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = json.dumps(dict(sorted(env.items()))).encode()
        return _FORMAT + nonce + self._aead.encrypt(nonce, plain, bound_to.encode())

    def decrypt(self, stored: bytes, bound_to: str) -> dict[str, str]:
        """The map that was stored. Raises DecryptionError."""
        if not stored:
            return {}
        nonce, rest = stored[1 : 1 + _NONCE_BYTES], stored[1 + _NONCE_BYTES :]
        if stored[:1] != _FORMAT or len(rest) < 16:
            raise DecryptionError(f"{bound_to}: not an encrypted environment")
        from cryptography.exceptions import InvalidTag

        try:
            env: dict[str, str] = json.loads(self._aead.decrypt(nonce, rest, bound_to.encode()))
        except InvalidTag:
            raise DecryptionError(f"{bound_to}: encrypted with another key, or altered") from None
        return env

    def fingerprint(self, data: bytes) -> bytes:
        """A digest that tells nothing of the data without the key."""
        return hmac.new(self._fingerprint_key, data, hashlib.sha256).digest()


def load_cipher(path: Path) -> EnvCipher:
    """The cipher of a key file, which is made (mode 0600) where it is not there.

    Safe when several processes do it at once. Raises StartupError where others can read the file, or it is
    not a key. Somebody else's file may be readable by its group: that is how this process may read it.
    """
    if not path.exists():
        _create(path)
    try:
        status = path.stat()
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise StartupError(f"cannot read the secrets key {path}: {error}.") from None
    if status.st_mode & (0o077 if status.st_uid == os.geteuid() else 0o037):  # a Secret of Kubernetes is root's
        raise StartupError(f"the secrets key {path} can be read by others; chmod 600 it (and consider it known).")
    if len(key) != _KEY_BYTES:
        raise StartupError(f"{path} is not a secrets key of {_KEY_BYTES} bytes.")
    return EnvCipher(key)


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)
