"""What Envoy has to be told: the facts its configuration is made of, free of any Envoy type."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

ADS_CLUSTER = "gateway-ads"
GATEWAY_CLUSTER = "gateway"
REST_CLUSTER = "gateway-rest"
ADMIN_CLUSTER = "envoy-admin"
COLLECTOR_CLUSTER = "otlp"
ROUTES = "routes"
LISTENER = "door"
STATS_LISTENER = "stats"
RUNTIME_LAYER = "sampling"
SERVICES = ("registry", "build", "deploy", "invoke")

# gRPC service -> the cluster that serves it. The public API: nothing else is routed by name.
PUBLIC_SERVICES: Mapping[str, str] = {
    "fnmesh.registry.v1.RegistryService": "registry",
    "fnmesh.build.v1.BuildService": "build",
    "fnmesh.deploy.v1.DeployService": "deploy",
    "fnmesh.deploy.v1.UsageService": "deploy",
    "fnmesh.invoke.v1.InvokeService": "invoke",
    "fnmesh.invoke.v1.JobService": "invoke",
    "fnmesh.invoke.v1.ScheduleService": "invoke",
    "fnmesh.invoke.v1.StatsService": "invoke",
    "fnmesh.trace.v1.TraceService": GATEWAY_CLUSTER,
    "grpc.health.v1.Health": GATEWAY_CLUSTER,
    "grpc.reflection.v1alpha.ServerReflection": GATEWAY_CLUSTER,
}
REST_PATHS = (
    *("/", "/health", "/docs", "/redoc", "/openapi.json", "/metrics", "/callbacks", "/deploy", "/callback/deploy"),
    *("/api/upload", "/api/project", "/api/log", "/api/health"),
)
_JOB_TREES = ("/api/execute", "/api/jobs", "/api/projects")
REST_TREES = ("/callbacks/", "/deploy/", "/api/workspaces", "/api/functions", "/api/cloudwatch", "/api/v1", *_JOB_TREES)
"""Paths whose every continuation by segments is the REST facade's."""
HTTP_SERVICE = "fnmesh.internal.invoke.v1.HttpService"
TRACE_HEADER = "x-fn-trace"
TOKEN_HEADER = "x-fnmesh-service-token"  # noqa: S105 -- the name of a header


@dataclasses.dataclass(frozen=True)
class Collector:
    """An OTLP/gRPC collector outside the mesh."""

    host: str
    port: int
    tls: bool
    headers: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class EnvoySpec:
    """Everything the bootstrap and the fixed resources depend on. Addresses are `unix:/path` or `host:port`."""

    listen_host: str
    listen_port: int
    gateway_address: str
    rest_address: str
    admin_socket: str
    service_token: str
    tls_cert_file: str = ""
    tls_key_file: str = ""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    collector: Collector | None = None
    # Where Envoy says how it is, to whoever asks; nowhere where None.
    stats: tuple[str, int] | None = None
    # Longest silence on an invoke; above the longest timeout that a function may have (15 minutes).
    invoke_idle_s: float = 960.0
    # Longest silence on a control call: a Watch may be quiet for long.
    control_idle_s: float = 3600.0
    max_request_headers_kb: int = 96
    # How long a client may take to send the head of a request.
    request_head_s: float = 15.0

    def to_json(self) -> str:
        """The spec as text, for another process of the gateway."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EnvoySpec:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        if fields["collector"] is not None:
            headers = tuple((name, value) for name, value in fields["collector"]["headers"])
            fields["collector"] = Collector(**{**fields["collector"], "headers": headers})
        for name in ("allowed_hosts", "allowed_origins", "stats"):
            fields[name] = tuple(fields[name]) if fields[name] is not None else None
        return cls(**fields)
