"""Who calls, and what they may do.

Services call each other with the service token (`x-fnmesh-service-token`); people and programs with an API
key (`authorization: Bearer fnm_...`). Where the mesh runs without authentication everybody may do everything
on the public services; the internal ones need the token always.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from mesh.errors import PermissionDenied, Unauthenticated

SERVICE_TOKEN_KEY = "x-fnmesh-service-token"  # noqa: S105 -- the name of a header
AUTHORIZATION_KEY = "authorization"

AuthMode = Literal["off", "keys"]
Metadata = Sequence[tuple[str, str | bytes]]


class Scope(StrEnum):
    """What the holder of a key may do. ADMIN includes the others; DEPLOY and INVOKE do not include each
    other.
    """

    ADMIN = "admin"
    DEPLOY = "deploy"
    INVOKE = "invoke"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Principal:
    """The caller. `workspace` is the identifier (`ws-...`) it is bound to, empty for all of them."""

    scopes: frozenset[Scope] = field(default_factory=frozenset)
    workspace: str = ""
    key_id: str = ""
    internal: bool = False

    def may(self, scope: Scope, workspace: str | None = None) -> bool:
        """Whether it has the scope, and (where one is given) may see that workspace."""
        if Scope.ADMIN not in self.scopes and scope not in self.scopes:
            return False
        return workspace is None or not self.workspace or self.workspace == workspace


ANYBODY = Principal(scopes=ALL_SCOPES)
"""The caller where the mesh runs without authentication."""
SERVICE = Principal(scopes=ALL_SCOPES, internal=True)
"""A service of the mesh."""

_current: ContextVar[Principal] = ContextVar("fnmesh_principal", default=Principal())  # noqa: B039 -- frozen


class KeyVerifier(Protocol):
    """Knows API keys."""

    async def verify(self, secret: str) -> Principal:
        """The holder of the secret. Raises Unauthenticated where it is unknown, revoked or expired."""
        ...


class ServiceToken:
    """The token that the services of one boot of the mesh share."""

    def __init__(self, value: str) -> None:
        if len(value) < 16:
            raise ValueError("the service token must have at least 16 characters")
        self.value = value
        self._bytes = value.encode()

    @classmethod
    def read(cls, path: Path) -> ServiceToken:
        """The token in a file. Raises OSError, or ValueError where it is too short."""
        return cls(path.read_text().strip())

    @classmethod
    def new(cls) -> ServiceToken:
        """A fresh one."""
        return cls(secrets.token_urlsafe(32))

    def matches(self, given: str | bytes) -> bool:
        """Compares in constant time."""
        return hmac.compare_digest(self._bytes, given.encode() if isinstance(given, str) else given)

    def instance_key(self, instance: str) -> str:
        """What a request to that instance carries, where anybody on the machine could send it one: 32 hex digits."""
        return hmac.new(self._bytes, f"instance {instance}".encode(), "sha256").hexdigest()[:32]

    def __repr__(self) -> str:
        return "ServiceToken(****)"


class Authenticator:
    """Finds out who calls. `verifier` is needed where mode is `keys`."""

    def __init__(self, mode: AuthMode, token: ServiceToken, verifier: KeyVerifier | None = None) -> None:
        if mode == "keys" and verifier is None:
            raise ValueError("mode 'keys' needs a verifier")
        self.mode = mode
        self._token = token
        self._verifier = verifier

    async def authenticate(self, metadata: Metadata, *, internal: bool) -> Principal:
        """The caller of an internal or a public service. Raises Unauthenticated, PermissionDenied."""
        token: str | bytes | None = None
        authorization: str | bytes = ""
        for key, value in metadata:
            if key == SERVICE_TOKEN_KEY:
                token = value
            elif key == AUTHORIZATION_KEY:
                authorization = value
        if token is not None:
            if self._token.matches(token):
                return SERVICE
            raise Unauthenticated("TOKEN_INVALID", "The service token is not the one of this mesh.")
        if internal:
            raise Unauthenticated("TOKEN_MISSING", "This service is for the services of the mesh only.")
        if self._verifier is None or self.mode == "off":
            return ANYBODY
        return await self._verifier.verify(bearer_secret(authorization))


def bearer_secret(authorization: str | bytes) -> str:
    """The secret of an `Authorization: Bearer ...` value. Raises Unauthenticated where there is none."""
    text = authorization.decode("latin-1") if isinstance(authorization, bytes) else authorization
    scheme, _, secret = text.strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthenticated(
            "KEY_MISSING",
            "This mesh needs an API key: send 'Authorization: Bearer fnm_...' (FNMESH_API_KEY).",
        )
    return secret.strip()


def current_principal() -> Principal:
    """Who makes the call that is being served; may do nothing outside of a call."""
    return _current.get()


def set_current(principal: Principal) -> None:
    """Says who makes the call being served. For servers."""
    _current.set(principal)


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Within it, `current_principal()` is the given one: for work that a service does by itself, and tests."""
    before = _current.set(principal)
    try:
        yield
    finally:
        _current.reset(before)


def require_scope(scope: Scope, workspace: str | None = None) -> Principal:
    """The caller, who has the scope (in the workspace with that identifier). Raises PermissionDenied."""
    return require_any(current_principal(), (scope,), workspace)


def require_any(principal: Principal, scopes: Sequence[Scope], workspace: str | None = None) -> Principal:
    """The principal, who has one of the scopes (in the workspace with that identifier). Raises PermissionDenied."""
    if not any(principal.may(scope) for scope in scopes):
        wanted = " or ".join(f"'{scope}'" for scope in scopes)
        raise PermissionDenied("SCOPE_MISSING", f"This needs an API key with the scope {wanted}.", scope=scopes[0])
    if not any(principal.may(scope, workspace) for scope in scopes):
        raise PermissionDenied("WORKSPACE_DENIED", "The API key is bound to another workspace.")
    return principal
