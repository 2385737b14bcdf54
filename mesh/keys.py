"""API keys, asked of the registry and remembered for some seconds."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

import grpc.aio

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as registry_pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as registry_grpc
from fnmesh.registry.v1 import api_key_pb2
from mesh.auth import KeyVerifier, Principal, Scope
from mesh.clock import Clock, SystemClock
from mesh.errors import Unauthenticated

SCOPES: Mapping[int, Scope] = {
    api_key_pb2.SCOPE_ADMIN: Scope.ADMIN,
    api_key_pb2.SCOPE_DEPLOY: Scope.DEPLOY,
    api_key_pb2.SCOPE_INVOKE: Scope.INVOKE,
}
"""What the numbers on the wire, and in the registry's tables, mean."""


class RemoteKeyVerifier:
    """Asks the registry over a channel of `mesh.rpc_client`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = registry_grpc.RegistryInternalServiceStub(channel)

    async def verify(self, secret: str) -> Principal:
        answer = await self._stub.VerifyApiKey(registry_pb.VerifyApiKeyRequest(secret=secret))
        return Principal(
            scopes=frozenset(SCOPES[scope] for scope in answer.scopes if scope in SCOPES),
            workspace=answer.workspace.removeprefix("workspaces/"),
            key_id=answer.key_id,
        )


class CachedKeyVerifier:
    """Remembers what another verifier said, good or bad, for `ttl_s` (a revoked key works that much longer)."""

    def __init__(self, inner: KeyVerifier, *, ttl_s: float = 5.0, size: int = 4096, clock: Clock | None = None) -> None:
        self._inner = inner
        self._ttl_s = ttl_s
        self._size = size
        self._clock = clock or SystemClock()
        self._known: OrderedDict[bytes, tuple[float, Principal | None]] = OrderedDict()

    async def verify(self, secret: str) -> Principal:
        digest = hashlib.sha256(secret.encode()).digest()
        now = self._clock.monotonic()
        known = self._known.get(digest)
        if known is not None and known[0] > now:
            if known[1] is None:
                raise Unauthenticated("KEY_INVALID", "The API key is unknown, revoked or expired.")
            return known[1]
        try:
            principal = await self._inner.verify(secret)
        except Unauthenticated:
            self._remember(digest, now, None)
            raise
        self._remember(digest, now, principal)
        return principal

    def _remember(self, digest: bytes, now: float, principal: Principal | None) -> None:
        self._known[digest] = (now + self._ttl_s, principal)
        self._known.move_to_end(digest)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
