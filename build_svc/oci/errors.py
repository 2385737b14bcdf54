"""What can go wrong at a registry; every text is one sentence for the author of a push.

RegistryError
├── CredentialsRefused   401: wrong, or none where some are needed
├── NotThere             404 to what was asked for
├── BlobTooLarge         more bytes than are wanted
└── RegistryTrouble      no answer, or one of 429 and 5xx: trying again may help
"""

from __future__ import annotations


class RegistryError(Exception):
    """The registry does not do what was asked of it, however often it is asked."""


class CredentialsRefused(RegistryError):
    """The registry does not take who we say we are."""

    def __init__(self, registry: str, *, given: bool) -> None:
        nobody = "" if given else ": none were given, and the builder's Docker configuration has none for it"
        super().__init__(f"registry refused the credentials for {registry}{nobody}")


class NotThere(RegistryError):
    """The registry has no such thing."""


class BlobTooLarge(RegistryError):
    """A blob has more bytes than whoever asked for it takes."""


class RegistryTrouble(RegistryError):
    """It may be better in a moment. `wait_s` is what the registry itself asks to wait, if it does."""

    def __init__(self, sentence: str, wait_s: float | None = None) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s
