"""The listener with a certificate, and hosts and origins that were allowed."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.door import open_door

pytestmark = pytest.mark.asyncio


def certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "door")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = directory / "cert.pem", directory / "key.pem"
    chain.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, secret


async def test_tls_and_allowed_names(tmp_run_dir: Path) -> None:
    chain, key = certificate(tmp_run_dir)
    async with open_door(
        tmp_run_dir,
        gateway_tls_cert_file=str(chain),
        gateway_tls_key_file=str(key),
        gateway_allowed_hosts="mesh.example",
        gateway_allowed_origins="https://app.example",
    ) as door:
        trusting = ssl.create_default_context(cafile=str(chain))
        url = f"https://{door.target}"
        async with httpx.AsyncClient(base_url=url, verify=trusting, http2=True, trust_env=False) as client:
            answer = await client.get("/api/hello")
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
            assert door.invoke.seen[-1].one("x-fn-scheme") == "https"
            allowed = {"host": "Mesh.example:443", "origin": "https://app.example"}
            assert (await client.get("/health", headers=allowed)).status_code == 200
            assert (await client.get("/health", headers={"host": "other.example"})).status_code == 403
            assert (await client.get("/health", headers={"origin": f"http://{door.target}"})).status_code == 403
        with pytest.raises(httpx.TransportError):
            async with door.client() as client:
                await client.get("/health")
