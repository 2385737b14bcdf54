"""A listener beside the door, for probes and Prometheus: how Envoy is, and nothing that changes anything.

Envoy's admin interface can end it, so that is on a socket which only its own user reaches; two of its pages are
handed on from there. Imports envoy-data-plane: only for the compile step.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from gateway.envoy.spec import ADMIN_CLUSTER, STATS_LISTENER

PAGES = ("/ready", "/stats/prometheus")


def _route(path: str) -> Route:
    get = HeaderMatcher(name=":method", string_match=StringMatcher(exact="GET"))
    return Route(match=RouteMatch(path=path, headers=[get]), route=RouteAction(cluster=ADMIN_CLUSTER))


def stats_listener(host: str, port: int) -> Listener:
    """Answers GET of PAGES as the admin interface does, everything else with 404."""
    pages = VirtualHost(name=STATS_LISTENER, domains=["*"], routes=[_route(path) for path in PAGES])
    manager = HttpConnectionManager(
        stat_prefix=STATS_LISTENER,
        route_config=RouteConfiguration(name=STATS_LISTENER, virtual_hosts=[pages]),
        http_filters=[HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router()))],
    )
    connection = Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))
    return Listener(
        name=STATS_LISTENER,
        address=Address(socket_address=SocketAddress(address=host, port_value=port)),
        filter_chains=[FilterChain(filters=[connection])],
    )
