"""The way of a request from end to end: a real Envoy, the real invoke_svc, and workloads that tests script."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.domain import SERVICES
from gateway.settings import GatewaySettings
from mesh.auth import ServiceToken
from tests.support.door import TOKEN, Door, open_door
from tests.support.invoke_mesh import Mesh, mesh_running


@dataclass
class WholeLane:
    """Envoy in front, invoke_svc behind it."""

    door: Door
    mesh: Mesh

    @property
    def host(self) -> str:
        return self.door.host

    @property
    def port(self) -> int:
        return self.door.port

    @property
    def idle(self) -> bool:
        """Whether no request is under way or waits."""
        assert self.mesh.running is not None
        return self.mesh.running.admission.inflight == self.mesh.running.admission.waiting == 0


@asynccontextmanager
async def open_lane(run_dir: Path, *, door: dict[str, Any] | None = None, **invoke: Any) -> AsyncIterator[WholeLane]:
    """`door` are settings of the gateway, the others those of invoke_svc."""
    running: list[Mesh] = []

    def beside(settings: GatewaySettings) -> AbstractAsyncContextManager[object]:
        @asynccontextmanager
        async def started() -> AsyncIterator[None]:
            token, address = ServiceToken(TOKEN), settings.gateway_address
            async with mesh_running(run_dir, token=token, gateway_address=address, **invoke) as mesh:
                running.append(mesh)
                yield

        return started()

    others = [name for name in SERVICES if name != "invoke"]
    async with open_door(run_dir, services=others, beside=beside, **(door or {})) as opened:
        yield WholeLane(opened, running[0])
