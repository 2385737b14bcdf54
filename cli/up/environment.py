"""The environment that the children get: made up from nothing, so that nothing slips in."""

from __future__ import annotations

from collections.abc import Mapping

from cli.up.listen import Listen
from cli.up.places import Places

# What a process needs to find programs, files, certificates, proxies and the Docker daemon on this machine.
_PASSED = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "PYTHONPATH", "PYTHONWARNINGS", "PYTHONUTF8", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
    "https_proxy", "no_proxy", "KUBECONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME",
    "LOKI_SERVICE_URL", "PROMETHEUS_SERVICE_URL",
})  # fmt: skip
_PASSED_PREFIXES = (
    "FNMESH_", "OTEL_", "DOCKER_", "PIP_", "NPM_CONFIG_", "npm_config_", "AWS_", "AZURE_", "GOOGLE_", "PG",
)  # fmt: skip
# Settings of the command line, not of the mesh.
_KEPT = ("FNMESH_API_KEY", "FNMESH_SERVER", "FNMESH_REQUIRE", "FNMESH_DEMO_", "FNMESH_UP_", "FNMESH_TEST_")


def child_environment(environ: Mapping[str, str], places: Places, listen: Listen) -> dict[str, str]:
    """The environment of every child: what the operator set for the mesh, and where this one is."""
    passed = {
        name: value
        for name, value in environ.items()
        if (name in _PASSED or name.startswith(_PASSED_PREFIXES)) and not name.startswith(_KEPT)
    }
    return {
        **passed,
        "PYTHONUNBUFFERED": "1",
        # The services start programs; gRPC's handlers would run (and crash) between fork and exec.
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        "PYTHONDONTWRITEBYTECODE": environ.get("PYTHONDONTWRITEBYTECODE", ""),
        "FNMESH_DATA_DIR": str(places.data),
        "FNMESH_RUN_DIR": str(places.run),
        "FNMESH_TOKEN_FILE": str(places.token_file),
        "FNMESH_GATEWAY_LISTEN": listen.address,
        "FNMESH_GATEWAY_BOOTSTRAP_FILE": str(places.envoy_bootstrap),
    }
