"""How deploy_svc shows a cluster who it is: TLS with certificates of both sides, and programs that make credentials."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy_svc.kubernetes.credentials import Access, read_kubeconfig
from fnmesh.registry.v1 import function_pb2 as f
from mesh.clock import FakeClock
from tests.support.cluster_target import UID, TestCluster, app, deploying
from tests.support.deploy_harness import DeployHarness
from tests.support.eventually import eventually
from tests.support.kubernetes import FakeKubernetes
from tests.support.registry_stub import own_certificate

PROGRAM = """
import pathlib, sys
here = pathlib.Path(sys.argv[1])
(here / "runs").open("a").write("x")
print((here / "credential").read_text())
"""


@pytest.fixture
async def mesh(cluster: TestCluster) -> AsyncIterator[DeployHarness]:
    async with deploying(cluster) as one:
        yield one


def change(cluster: TestCluster, section: str, key: str, fields: dict[str, Any]) -> None:
    """Put something else into the kubeconfig."""
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document[section][0][key] = fields
    cluster.kubeconfig.write_text(yaml.safe_dump(document))


@asynccontextmanager
async def tls_door(behind: str, certificate: Path, key: Path) -> AsyncIterator[str]:
    """TLS before a server; clients must have the same certificate. Its URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    host, _, port = behind.removeprefix("http://").partition(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while block := await reader.read(65536):
                writer.write(block)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(copy(reader, server_writer))
            tasks.create_task(copy(server_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_certificates_of_both_sides(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, tmp_path: Path
) -> None:
    certificate, key = own_certificate(tmp_path)
    in_base64 = {path: base64.b64encode(path.read_bytes()).decode() for path in (certificate, key)}
    user = yaml.safe_load(cluster.kubeconfig.read_text())["users"][0]["user"]
    async with tls_door(fake.address, certificate, key) as url:
        change(cluster, "clusters", "cluster", {"server": url, "certificate-authority-data": in_base64[certificate]})
        by_certificate = {"client-certificate-data": in_base64[certificate], "client-key-data": in_base64[key]}
        change(cluster, "users", "user", user | by_certificate)
        async with mesh.here(), mesh.client() as client:
            await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
            await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)

        change(cluster, "clusters", "cluster", {"server": url})  # whose certificate nobody vouches for
        async with mesh.here(), mesh.client() as client:
            await mesh.want(UID, 2, app(), cluster=cluster.settings(app_name="hello"))
            await client.until(UID, f.DEPLOYMENT_STATE_PENDING)
            told = await eventually(lambda: _message(client))
            assert told.startswith("The cluster of context 'fake' does not answer: ")


async def test_a_program_makes_credentials_and_is_run_again(
    cluster: TestCluster, fake: FakeKubernetes, mesh: DeployHarness, tmp_path: Path
) -> None:
    version = "client.authentication.k8s.io/v1"

    def credential(token: str, good_for: timedelta) -> None:
        until = (datetime.now(UTC) + good_for).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"token": token, "expirationTimestamp": until}
        made = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        (tmp_path / "credential").write_text(json.dumps(made))

    first = fake.access.grant(None)
    credential(first, timedelta(hours=1))
    program = {"command": sys.executable, "args": ["-c", PROGRAM, str(tmp_path)], "apiVersion": version}
    change(cluster, "users", "user", {"exec": program})
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, app(), cluster=cluster.settings(app_name="hello"))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        assert (tmp_path / "runs").read_text() == "x", "what it made is good for an hour"
        credential(fake.access.grant(None), timedelta(hours=1))
        fake.access.expire(first)
        await mesh.want(UID, 2, app(), cluster=cluster.settings(app_name="hello"))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 2, 60)


async def _message(client: Any) -> str:
    told: str = (await client.deployment(UID)).message
    return told


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
async def test_certificates_that_are_replaced_are_noticed(tmp_path: Path, name: str) -> None:
    for file in own_certificate(tmp_path):
        for other in ("ca.pem", "cert.pem") if "certificate" in file.name else ("key.pem",):
            (tmp_path / other).write_bytes(file.read_bytes())
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority": str(tmp_path / "ca.pem")}
    user = {"client-certificate": str(tmp_path / "cert.pem"), "client-key": str(tmp_path / "key.pem")}
    config = {
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "c", "user": user}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    clock = FakeClock()
    access = Access(read_kubeconfig(str(tmp_path / "kubeconfig")), "c", clock)
    try:
        first = await access.client()
        clock.advance(61)
        assert await access.client() is first, "what is the same is kept, and with it all that is being watched"
        with (tmp_path / name).open("ab") as file:
            file.write(b"\n")
        clock.advance(61)
        second = await access.client()
        assert second is not first
        clock.advance(61)
        assert await access.client() is second
    finally:
        await access.close()
