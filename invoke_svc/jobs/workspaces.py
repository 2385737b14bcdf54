"""Workspaces by the names that callers use, as the registry knows them."""

from __future__ import annotations

from dataclasses import dataclass

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as pb_grpc
from mesh import names
from mesh.auth import current_principal
from mesh.clock import Clock
from mesh.errors import NotFound, PermissionDenied

_KNOWN_S = 5.0
_KNOWN_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Workspace:
    """Identifier and display name."""

    uid: str
    display_name: str


class Workspaces:
    """Asks the registry, and remembers its answers for a few seconds."""

    def __init__(self, stub: pb_grpc.RegistryInternalServiceAsyncStub, clock: Clock) -> None:
        self._stub = stub
        self._clock = clock
        self._known: dict[str, tuple[float, Workspace]] = {}

    async def find(self, reference: str, *, create: bool = False) -> Workspace:
        """The workspace of that identifier or display name, which is made where asked for.

        Raises NotFound; PermissionDenied where the caller's key is bound to another workspace.
        """
        bound = current_principal().workspace
        known = self._known.get(reference)
        if known is None or self._clock.monotonic() - known[0] > _KNOWN_S:
            name = names.format_name(names.WORKSPACE, reference)
            request = pb.ResolveWorkspaceRequest(name=name, create=create and not bound)
            try:
                answer = await self._stub.ResolveWorkspace(request)
            except NotFound:
                if bound and create:
                    raise _denied() from None
                raise
            known = self._clock.monotonic(), Workspace(answer.uid, answer.display_name)
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            self._known[reference] = known
        workspace = known[1]
        if bound and bound != workspace.uid:
            raise _denied()
        return workspace


def _denied() -> PermissionDenied:
    return PermissionDenied("WORKSPACE_DENIED", "The API key is bound to another workspace.")
