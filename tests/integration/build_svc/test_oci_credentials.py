"""What Docker's configuration says about who we are at a registry."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from build_svc.oci.credentials import Credentials, DockerCredentials
from build_svc.oci.errors import RegistryError

HELPER = """#!/bin/sh
[ "$1" = get ] || exit 2
[ -z "$FNMESH_TOKEN_FILE" ] || exit 3
read -r server
case "$server" in
  ecr.example) echo '{"ServerURL":"ecr.example","Username":"AWS","Secret":"a-fresh-password"}' ;;
  token.example) echo '{"ServerURL":"token.example","Username":"<token>","Secret":"refresh"}' ;;
  broken.example) echo 'no JSON' ;;
  angry.example) echo 'the vault is locked' >&2; exit 1 ;;
  slow.example) exec sleep 600 ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


class Machine:
    """A home with a Docker configuration, and a helper on PATH."""

    def __init__(self, root: Path) -> None:
        self._config = root / ".docker" / "config.json"
        self._config.parent.mkdir()
        helper = root / "docker-credential-vault"
        helper.write_text(HELPER)
        helper.chmod(0o755)
        environ = {"HOME": str(root), "PATH": f"{root}:/usr/bin:/bin", "FNMESH_TOKEN_FILE": "/secret"}
        self.credentials = DockerCredentials(environ, helper_s=20)
        self.hasty = DockerCredentials(environ, helper_s=0.2)

    def configure(self, config: Any) -> None:
        self._config.write_text(config if isinstance(config, str) else json.dumps(config))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_without_a_configuration_there_are_none(machine: Machine) -> None:
    assert await machine.credentials.find("ghcr.io") is None
    machine.configure({})
    assert await machine.credentials.find("ghcr.io") is None


async def test_stored_ones_are_found_by_host(machine: Machine) -> None:
    machine.configure(
        {
            "auths": {
                "ghcr.io": {"auth": encoded("me:pass:word")},
                "https://index.docker.io/v1/": {"auth": encoded("hub:secret")},
                "https://old.example/v2/": {"username": "old", "password": "older"},
                "id.example": {"identitytoken": "refresh"},
                "empty.example": {},
            }
        }
    )

    assert await machine.credentials.find("ghcr.io") == Credentials("me", "pass:word")
    assert await machine.credentials.find("docker.io") == Credentials("hub", "secret")
    assert await machine.credentials.find("old.example") == Credentials("old", "older")
    assert await machine.credentials.find("id.example") == Credentials("", "refresh")
    assert await machine.credentials.find("empty.example") is None
    assert await machine.credentials.find("ghcr.io.evil.example") is None


@pytest.mark.parametrize(
    "config",
    [
        {"credsStore": "vault"},
        {"credHelpers": {"ecr.example": "vault", "token.example": "vault", "other.example": "vault"}},
    ],
)
async def test_helpers_are_asked(machine: Machine, config: dict[str, Any]) -> None:
    machine.configure(config | {"auths": {"ecr.example": {"auth": encoded("not:asked")}}})

    assert await machine.credentials.find("ecr.example") == Credentials("AWS", "a-fresh-password")
    assert await machine.credentials.find("token.example") == Credentials("", "refresh")
    assert await machine.credentials.find("other.example") is None


async def test_a_helper_of_one_registry_is_not_asked_for_others(machine: Machine) -> None:
    machine.configure({"credHelpers": {"ecr.example": "vault"}, "auths": {"ghcr.io": {"auth": encoded("me:pw")}}})

    assert await machine.credentials.find("ghcr.io") == Credentials("me", "pw")


@pytest.mark.parametrize(
    ("config", "registry", "complaint"),
    [
        ("{", "ghcr.io", "cannot be read: it is not JSON"),
        ({"auths": {"ghcr.io": {"auth": "%%%"}}}, "ghcr.io", "no readable credentials for ghcr.io"),
        ({"credsStore": "vault"}, "broken.example", "answered something else than credentials"),
        ({"credsStore": "vault"}, "angry.example", "the vault is locked"),
        ({"credsStore": "absent"}, "ghcr.io", "docker-credential-absent, which .* names for ghcr.io, is not on"),
        ({"credsStore": "../vault"}, "ghcr.io", "is not on the builder's PATH: install it"),
    ],
)
async def test_what_cannot_be_had_is_told(machine: Machine, config: Any, registry: str, complaint: str) -> None:
    machine.configure(config)

    with pytest.raises(RegistryError, match=complaint):
        await machine.credentials.find(registry)


async def test_a_helper_that_does_not_answer_is_ended(machine: Machine) -> None:
    machine.configure({"credsStore": "vault"})

    with pytest.raises(RegistryError, match=r"docker-credential-vault did not answer within 0\.2 s"):
        await machine.hasty.find("slow.example")


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("me", "secret"))
