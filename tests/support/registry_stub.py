"""A registry in memory that does what a test says: refuses, breaks off, is slow, asks for a token, speaks TLS."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "a-token-of-this-registry"


@dataclass
class Trouble:
    """What the next `times` requests get whose line (`PUT /v2/...`) matches: a status, or (0) no answer at all."""

    pattern: str
    status: int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)


class RegistryStub:
    """What it has, and what it was asked. `user` is who may use it (`name:password`), by a token where `token`."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.seen: list[str] = []
        self.troubles: list[Trouble] = []
        self.user = ""
        self.token = False
        self.address = ""
        self.scheme = "http"
        self.released = threading.Event()

    def count(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(1 for line in self.seen if re.search(pattern, line))

    def trouble(self, line: str) -> Trouble | None:
        for one in self.troubles:
            if one.times > 0 and re.search(one.pattern, line):
                one.times -= 1
                return one
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: RegistryStub
    uploads: dict[str, bytearray]

    def _handle(self) -> None:
        stub, parts = self.stub, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0)) if not self._chunked() else self._pieces()
        line = f"{self.command} {self.path}"
        stub.seen.append(line)
        trouble = stub.trouble(line)
        if trouble is not None and trouble.status == 0:
            stub.released.wait(60)
            self.close_connection = True
            return
        if trouble is not None:
            self._answer(trouble.status, json.dumps({"errors": trouble.errors}).encode(), **trouble.headers)
        elif parts.path == "/token":
            granted = self._is_user(self.headers.get("authorization", ""))
            self._answer(200 if granted else 401, json.dumps({"token": TOKEN}).encode() if granted else b"{}")
        elif not self._is_welcome():
            asked = f'Bearer realm="{stub.scheme}://{stub.address}/token",service="stub"' if stub.token else "Basic"
            self._answer(401, b"{}", **{"www-authenticate": asked})
        else:
            self._serve(parts.path, {name: one[0] for name, one in parse_qs(parts.query).items()}, body)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _handle

    def _serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        stub, (_, kind, name) = self.stub, re.fullmatch(r"/v2/(.+)/(blobs|manifests)/(.*)", path).groups()  # type: ignore[union-attr]
        if kind == "blobs" and self.command == "POST":
            place = f"upload-{len(self.uploads)}"
            self.uploads[place] = bytearray()
            self._answer(202, b"", location=f"/v2/made/up/blobs/uploads/{place}?state=begun")
        elif kind == "blobs" and self.command in ("PATCH", "PUT"):
            upload = self.uploads.get(name.rpartition("/")[2])
            if upload is None:
                self._answer(404, b"{}")
                return
            if self.command == "PATCH" and self.headers["content-range"].partition("-")[0] != str(len(upload)):
                self._answer(416, b"{}")
                return
            upload += body
            if self.command == "PATCH":
                self._answer(202, b"", location=self.path)
                return
            is_right = f"sha256:{hashlib.sha256(upload).hexdigest()}" == query["digest"]
            if is_right:
                stub.blobs[query["digest"]] = bytes(upload)
            self._answer(201 if is_right else 400, b"{}")
        elif kind == "manifests" and self.command == "PUT":
            stub.manifests[name] = body
            self._answer(201, b"", **{"docker-content-digest": f"sha256:{hashlib.sha256(body).hexdigest()}"})
        else:
            found = (stub.blobs if kind == "blobs" else stub.manifests).get(name)
            digest = f"sha256:{hashlib.sha256(found or b'').hexdigest()}"
            self._answer(404 if found is None else 200, found or b"", **{"docker-content-digest": digest})

    def _is_welcome(self) -> bool:
        given = self.headers.get("authorization", "")
        if not self.stub.user:
            return True
        return given == f"Bearer {TOKEN}" if self.stub.token else self._is_user(given)

    def _is_user(self, authorization: str) -> bool:
        return authorization == "Basic " + base64.b64encode(self.stub.user.encode()).decode()

    def _chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "")

    def _pieces(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
        except OSError:
            return  # whoever asked has gone

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is written."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are part of these tests."""


@contextmanager
def running_stub(certificate: tuple[Path, Path] | None = None) -> Iterator[RegistryStub]:
    """One on a port of its own; with TLS where a certificate and its key are given."""
    stub = RegistryStub()
    handler = type("Handler", (_Handler,), {"stub": stub, "uploads": {}})
    with _Server(("127.0.0.1", 0), handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            stub.scheme = "https"
        stub.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield stub
        finally:
            stub.released.set()
            server.shutdown()
            thread.join()


def own_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody signed but itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a registry of a test")])
    now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
