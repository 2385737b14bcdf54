"""Names of repositories as people write them: `127.0.0.1:5000/faas-app`, `ghcr.io/me/app`. None has a registry of its
own choice: what is meant for one must not end up at another.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "index.docker.io"
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:]{2,45}\])(?::[0-9]{1,5})?")
_PART = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-{1,16})[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PATH_MAX = 255


class ReferenceInvalid(ValueError):
    """No repository is called that; the text is one sentence."""


@dataclass(frozen=True)
class Repository:
    """A repository. `scheme` is `http`, `https`, or empty where nobody said; `tag` may be empty."""

    registry: str
    path: str
    tag: str = ""
    scheme: str = ""

    @property
    def name(self) -> str:
        """`registry/path`, as others write it too."""
        return f"{self.registry}/{self.path}"

    @property
    def api_host(self) -> str:
        """Where its API is: host, and port if there is one."""
        return _DOCKER_HUB_API if self.registry == DOCKER_HUB else self.registry

    @property
    def host(self) -> str:
        """The registry without its port."""
        return self.registry.rpartition("]")[0].lstrip("[") or self.registry.partition(":")[0]

    @property
    def on_this_machine(self) -> bool:
        """Whether the registry is on a loopback address."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse(text: str, tag: str = "") -> Repository:
    """The repository that `text` names, with the tag that either of them gives. Raises ReferenceInvalid."""
    scheme, separator, rest = text.strip().rpartition("://")
    if separator and scheme.lower() not in ("http", "https"):
        raise ReferenceInvalid(f"'{_shown(text)}' is no registry: only https:// and http:// may stand before it.")
    if "@" in rest:
        raise ReferenceInvalid("The registry's URL must hold no credentials and no digest: send username and password.")
    first, slash, path = rest.rstrip("/").partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        raise ReferenceInvalid(
            f"'{_shown(text)}' does not name registry and repository: write it like ghcr.io/me/app or docker.io/me/app."
        )
    path, _, own_tag = path.partition(":")
    if first == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    if not _HOST.fullmatch(first):
        raise ReferenceInvalid(f"'{_shown(first)}' is not the name of a registry, such as ghcr.io or 127.0.0.1:5000.")
    if len(path) > _PATH_MAX or not all(_PART.fullmatch(part) for part in path.split("/")):
        raise ReferenceInvalid(f"'{_shown(path)}' is not the name of a repository: use a-z, 0-9 and ._-/ between them.")
    if tag and own_tag and tag != own_tag:
        raise ReferenceInvalid(f"Two tags are given, '{_shown(tag)}' and '{_shown(own_tag)}'; send one.")
    if (found := tag or own_tag) and not _TAG.fullmatch(found):
        raise ReferenceInvalid(f"'{_shown(found)}' is not a tag: use at most 128 letters, digits and ._-.")
    return Repository(first, path, found, scheme.lower())


def is_plain(repository: Repository, insecure: Collection[str]) -> bool:
    """Whether it is spoken to without TLS; `insecure` are the registries that the operator lists for that.

    Raises ReferenceInvalid where that is asked for and not allowed.
    """
    allowed = repository.on_this_machine or repository.registry in insecure or repository.host in insecure
    if repository.scheme == "http" and not allowed:
        raise ReferenceInvalid(
            f"The registry {repository.registry} would be spoken to without encryption: leave out http://, or have the"
            " operator list it in FNMESH_BUILD_INSECURE_REGISTRIES."
        )
    return allowed and repository.scheme != "https"


def _shown(text: str) -> str:
    return text[:100]
