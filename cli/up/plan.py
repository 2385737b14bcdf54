"""What `up` runs, in which order, and how patient it is."""

from __future__ import annotations

from dataclasses import dataclass

from cli.up.listen import Listen
from cli.up.places import Places

SERVICES = {
    "registry": "registry_svc",
    "gateway": "gateway",
    "build": "build_svc",
    "deploy": "deploy_svc",
    "invoke": "invoke_svc",
}
ENVOY = "envoy"
ENVOY_MODULE = "gateway.envoy"  # which becomes Envoy
FORKED = (*SERVICES.values(), ENVOY_MODULE)
IMPORTED_LATE = ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "aiosqlite")  # by all, once they run
DEPLOY = "deploy"
# Envoy has gone by then. Each group is stopped together, after the one before it has ended.
STOP_ORDER = (("gateway",), ("invoke", "build"), (DEPLOY,), ("registry",))


@dataclass(frozen=True)
class Patience:
    """How long things may take, in seconds."""

    start_s: float = 60.0
    drain_s: float = 10.0
    stop_s: float = 15.0
    reap_s: float = 60.0
    # A child that ends sooner than this after its start has failed; so many times in a row is enough.
    stable_s: float = 10.0
    failures: int = 5
    first_backoff_s: float = 0.2
    longest_backoff_s: float = 5.0

    def backoff_s(self, failures: int) -> float:
        """How long to wait before the next start."""
        return min(self.longest_backoff_s, self.first_backoff_s * 2.0 ** max(0, failures - 1))


@dataclass(frozen=True)
class UpPlan:
    """One `fnmesh up`: where, and with which environment for the children."""

    places: Places
    listen: Listen
    environ: dict[str, str]
    patience: Patience = Patience()

    def address(self, service: str) -> str:
        """Where a service listens: as the operator set it, else on its socket."""
        return self.environ.get(f"FNMESH_{service.upper()}_ADDRESS") or (f"unix:{self.places.service_socket(service)}")
