"""Routes: functions to invoke_svc, the public gRPC services, the REST facade; anything else is not found.

Imports envoy-data-plane: only for the compile step.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import DataSource, HeaderValue, HeaderValueOption
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOptionHeaderAppendAction as AppendAction
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    RouteMatchGrpcRouteMatchOptions,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import LuaPerRoute
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.google.protobuf import Any, Struct

from gateway.envoy.filters import GUARD_FILTER, LANE_FILTER, TRANSCODER_FILTER
from gateway.envoy.spec import (
    PUBLIC_SERVICES,
    REST_CLUSTER,
    REST_PATHS,
    REST_TREES,
    ROUTES,
    TOKEN_HEADER,
    EnvoySpec,
)

# What Envoy says about its own work is no header of the client's.
_ADDED_BY_ENVOY = (
    "x-envoy-original-path",
    "x-envoy-original-method",
    "x-envoy-internal",
    "x-envoy-external-address",
)


def set_header(name: str, value: str) -> HeaderValueOption:
    """A header that replaces whatever had its name."""
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=AppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _retry_unsent() -> RetryPolicy:
    """Tries another member where the first never saw the request; nothing else may be repeated."""
    return RetryPolicy(
        retry_on="connect-failure,refused-stream",
        num_retries=3,
        retry_host_predicate=[
            RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=Any.pack(PreviousHostsPredicate()),
            )
        ],
        # Least requests is what a dead member has: it is chosen again and again until the gateway tells of its end.
        host_selection_retry_max_attempts=20,
    )


def _functions(spec: EnvoySpec) -> Route:
    enabled = Any.pack(FilterConfig(config=Any()))
    return Route(
        name="functions",
        match=RouteMatch(prefix="/api/"),
        route=RouteAction(
            cluster="invoke",
            timeout=timedelta(0),
            idle_timeout=timedelta(seconds=spec.invoke_idle_s),
            retry_policy=_retry_unsent(),
        ),
        request_headers_to_add=[set_header(TOKEN_HEADER, spec.service_token)],
        typed_per_filter_config={
            LANE_FILTER: enabled,
            TRANSCODER_FILTER: enabled,
        },
    )


def _guard(spec: EnvoySpec) -> dict[str, Any]:
    allowed = {
        "hosts": {host.lower(): True for host in spec.allowed_hosts},
        "origins": {origin.lower(): True for origin in spec.allowed_origins},
    }
    return {GUARD_FILTER: Any.pack(LuaPerRoute(filter_context=Struct.from_dict(allowed)))}


def _control(name: str, match: RouteMatch, cluster: str, spec: EnvoySpec) -> Route:
    return Route(
        name=name,
        match=match,
        route=RouteAction(
            cluster=cluster,
            timeout=timedelta(0),
            idle_timeout=timedelta(seconds=spec.control_idle_s),
            retry_policy=_retry_unsent(),
        ),
        typed_per_filter_config=_guard(spec),
    )


def _tree(path: str) -> RouteMatch:
    """All that is below a path; also the path itself where it has no slash at its end."""
    return RouteMatch(prefix=path) if path.endswith("/") else RouteMatch(path_separated_prefix=path)


def route_configuration(spec: EnvoySpec) -> RouteConfiguration:
    """The routes of the one listener. `fnmesh.internal.*` has none."""
    routes = [_control(f"rest {path}/", _tree(path), REST_CLUSTER, spec) for path in REST_TREES]
    routes += [_control(f"rest {path}", RouteMatch(path=path), REST_CLUSTER, spec) for path in REST_PATHS]
    routes.append(_functions(spec))
    for service, cluster in PUBLIC_SERVICES.items():
        match = RouteMatch(prefix=f"/{service}/", grpc=RouteMatchGrpcRouteMatchOptions())
        routes.append(_control(service, match, cluster, spec))
    nothing = "There is nothing at this path."
    routes.append(
        Route(
            name="nothing",
            match=RouteMatch(prefix="/"),
            direct_response=DirectResponseAction(status=404, body=DataSource(inline_string=nothing)),
        )
    )
    return RouteConfiguration(
        name=ROUTES,
        # The route's own token is added after this; what a client sent under its name went long before.
        request_headers_to_remove=list(_ADDED_BY_ENVOY),
        request_headers_to_add=[
            HeaderValueOption(
                header=HeaderValue(key="x-forwarded-for", value="%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
                append_action=AppendAction.APPEND_IF_EXISTS_OR_ADD,
            )
        ],
        virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=routes)],
    )
