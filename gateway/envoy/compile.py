"""Makes Envoy's configuration in a process of its own: `python -m gateway.envoy.compile` (spec in, all of it out).

envoy-data-plane takes over a second and tens of megabytes to import; the gateway needs it once, so a child pays
for it and goes away.
"""

from __future__ import annotations

import gc
import sys

if __name__ == "__main__":
    gc.disable()  # the process ends before there is much to collect

from envoy_data_plane.google.protobuf import Any

from gateway.envoy.bootstrap import bootstrap
from gateway.envoy.clusters import clusters
from gateway.envoy.compiled import Compiled
from gateway.envoy.listener import listener
from gateway.envoy.resources import Resource
from gateway.envoy.routes import route_configuration
from gateway.envoy.spec import LISTENER, ROUTES, STATS_LISTENER, EnvoySpec
from gateway.envoy.stats_listener import stats_listener


def fixed_resources(spec: EnvoySpec) -> list[Resource]:
    """Clusters, listener and routes, serialised."""
    named = [(cluster.name, Any.pack(cluster)) for cluster in clusters(spec)]
    named.append((LISTENER, Any.pack(listener(spec))))
    if spec.stats is not None:
        named.append((STATS_LISTENER, Any.pack(stats_listener(*spec.stats))))
    named.append((ROUTES, Any.pack(route_configuration(spec))))
    return [Resource(type_url=packed.type_url, name=name, body=packed.value) for name, packed in named]


def main() -> None:
    """Reads a spec on stdin and writes what comes of it to stdout."""
    spec = EnvoySpec.from_json(sys.stdin.read())
    sys.stdout.write(Compiled(bytes(bootstrap(spec)), tuple(fixed_resources(spec))).to_json())


if __name__ == "__main__":
    main()
