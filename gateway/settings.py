"""Settings of the gateway: FNMESH_GATEWAY_* and the common ones."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field

from gateway.envoy.spec import Collector, EnvoySpec
from gateway.rest.loki import Loki
from gateway.rest.observing import DEFAULT_CLUSTER, PATIENCE_S, Observing
from gateway.rest.prometheus import Prometheus
from mesh.clock import Clock, SystemClock
from mesh.http_client import HttpServer
from mesh.settings import MeshSettings, SettingsError


class GatewaySettings(MeshSettings):
    """What the gateway and Envoy need to know."""

    service: ClassVar[str] = "gateway"

    gateway_listen: str = "127.0.0.1:8080"
    """Where Envoy listens: `ip:port`; port 0 picks one."""
    gateway_rest_address: str = Field(default_factory=lambda data: f"unix:{data['run_dir']}/m/gateway-rest.sock")
    """Where Envoy reaches the REST facade: `unix:/path` or `host:port`."""
    gateway_rest_listen: str = ""
    """Where the REST facade listens, where that is not `gateway_rest_address`: `ip:port`."""
    gateway_stats_listen: str = ""
    """Where Envoy answers `/ready` and `/stats/prometheus`, of its admin interface only these: `ip:port`. Nowhere where
    not set."""
    gateway_admin_socket: Path = Field(default_factory=lambda data: data["run_dir"] / "m/envoy-admin.sock")
    """Envoy's admin interface."""
    gateway_bootstrap_file: Path | None = None
    """Where Envoy's bootstrap is written before the gateway serves; its name ends in `.pb`. Nowhere if not set."""
    gateway_allowed_hosts: str = ""
    """Host names, besides those of this machine, under which control calls are answered; comma-separated."""
    gateway_allowed_origins: str = ""
    """Origins (`https://example.org`) whose pages may make control calls; comma-separated."""
    gateway_tls_cert_file: str = ""
    """Certificate chain in PEM; with `gateway_tls_key_file` the listener speaks TLS."""
    gateway_tls_key_file: str = ""
    gateway_prometheus_url: str = Field(default="", repr=False)
    """A Prometheus (`http://prometheus:9090`) that scrapes this mesh's /metrics: metrics of functions are read from it.
    Older: PROMETHEUS_SERVICE_URL.
    """
    gateway_cluster_aliases: str = ""
    """Names, besides `default`, under which older clients ask for the usage of the mesh's machine; comma-separated.
    FNMESH_CLUSTER_ALIASES is another name of this setting.
    """
    gateway_namespaces: str = "default"
    """Namespaces that clients of a cluster may name when they deploy to this machine; comma-separated. They are all the
    same place."""
    gateway_request_head_s: float = Field(default=15.0, gt=0)
    """How long a client may take to send the head of a request; then it is answered 408."""
    gateway_hold_s: float = Field(default=10.0, ge=0)
    """Longest time to wait for all services before Envoy is told anything."""
    gateway_cache_dir: Path | None = None
    """Where Envoy's compiled configuration is kept, for any number of meshes; else it is in the data directory."""
    gateway_trace_spans: int = Field(default=50_000, ge=1)
    """Spans kept in memory."""
    gateway_trace_age_s: float = Field(default=3600.0, gt=0)
    """How long they are kept."""

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings of this process. Raises SettingsError with one sentence."""
        settings = super().load(environ)
        settings.check()
        return settings

    def check(self) -> None:
        """Raises SettingsError where settings do not fit each other."""
        host, _ = self.listen
        if self.auth == "off" and not ipaddress.ip_address(host).is_loopback:
            raise SettingsError(
                f"FNMESH_GATEWAY_LISTEN={self.gateway_listen} can be reached from other machines, and nobody "
                "would be asked for a key: set FNMESH_AUTH=keys, or listen on 127.0.0.1."
            )
        if bool(self.gateway_tls_cert_file) != bool(self.gateway_tls_key_file):
            raise SettingsError(
                "FNMESH_GATEWAY_TLS_CERT_FILE and FNMESH_GATEWAY_TLS_KEY_FILE belong together: set both or none."
            )

        if self.gateway_stats_listen:
            _numeric("FNMESH_GATEWAY_STATS_LISTEN", self.gateway_stats_listen)
        self.observing(SystemClock())

    def observing(self, clock: Clock) -> Observing:
        """Where lines and metrics are read. Raises SettingsError where a URL is none."""
        loki = _server("FNMESH_LOKI_URL", self.loki_url)
        prometheus = _server("FNMESH_GATEWAY_PROMETHEUS_URL", self.gateway_prometheus_url)
        return Observing(
            clusters=frozenset({DEFAULT_CLUSTER, *_listed(self.gateway_cluster_aliases)}),
            lines=Loki(loki, clock, timeout_s=PATIENCE_S) if loki else None,
            metrics=Prometheus(prometheus, clock, timeout_s=PATIENCE_S) if prometheus else None,
        )

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces of `gateway_namespaces`."""
        return _listed(self.gateway_namespaces)

    @property
    def listen(self) -> tuple[str, int]:
        """Where Envoy listens, as an IP address and a port."""
        return _numeric("FNMESH_GATEWAY_LISTEN", self.gateway_listen)

    @property
    def envoy_cache(self) -> Path:
        """Where Envoy's compiled configuration is kept."""
        return self.gateway_cache_dir or self.data_dir / "cache"

    def envoy_spec(self, environ: Mapping[str, str] | None = None) -> EnvoySpec:
        """What Envoy's configuration is made of. Raises SettingsError."""
        host, port = self.listen
        stats = self.gateway_stats_listen
        hosts = set(_listed(self.gateway_allowed_hosts))
        if not ipaddress.ip_address(host).is_unspecified:
            hosts.add(host)
        return EnvoySpec(
            listen_host=host,
            listen_port=port,
            gateway_address=self.gateway_address,
            rest_address=self.gateway_rest_address,
            admin_socket=str(self.gateway_admin_socket),
            stats=_numeric("FNMESH_GATEWAY_STATS_LISTEN", stats) if stats else None,
            service_token=self.read_token().value,
            tls_cert_file=self.gateway_tls_cert_file,
            tls_key_file=self.gateway_tls_key_file,
            allowed_hosts=tuple(sorted(hosts)),
            allowed_origins=_listed(self.gateway_allowed_origins),
            request_head_s=self.gateway_request_head_s,
            collector=collector_of(os.environ if environ is None else environ),
        )


def _numeric(name: str, text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        ipaddress.ip_address(host)
        if not separator or not 0 <= int(port) <= 65535:
            raise ValueError
    except ValueError:
        raise SettingsError(f"{name}={text} is not ip:port, such as 127.0.0.1:8080.") from None
    return host, int(port)


def _server(name: str, url: str) -> HttpServer | None:
    try:
        return HttpServer(url) if url else None
    except ValueError as error:
        raise SettingsError(f"{name} is wrong: {error}.") from None


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def collector_of(environ: Mapping[str, str]) -> Collector | None:
    """The collector that OTEL_EXPORTER_OTLP_[TRACES_]ENDPOINT names; None where it is not set.

    Only OTLP over gRPC is spoken. Raises SettingsError where it is not a URL.
    """
    name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    endpoint = environ.get(name, "")
    if not endpoint:
        name = "OTEL_EXPORTER_OTLP_ENDPOINT"
        endpoint = environ.get(name, "")
    if not endpoint:
        return None
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    if parts.scheme not in ("", "http", "https", "grpc") or not parts.hostname:
        raise SettingsError(f"{name}={endpoint} is not a URL such as http://127.0.0.1:4317.")
    headers = []
    for pair in environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(","):
        key, separator, value = pair.partition("=")
        if separator:
            headers.append((key.strip().lower(), unquote(value.strip())))
    return Collector(parts.hostname, parts.port or 4317, parts.scheme == "https", tuple(headers))
