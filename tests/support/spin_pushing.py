"""Artifacts of Spin components as the builder makes them, pushed without a build."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from build_svc.domain import Artifact, ArtifactKind, Stage
from build_svc.oci import reference
from build_svc.oci.client import connected
from build_svc.oci.credentials import Credentials
from build_svc.oci.patience import Patience
from build_svc.scratch import Scratch
from build_svc.spin_push import SpinPush
from build_svc.users import BuildUsers
from mesh import ids
from mesh.blobs import LocalBlobs, digest_key
from mesh.loops import Backoff
from runtimes.spin.application import Mount, SpinApp, Variable

HASTY = Patience(tries=3, between=Backoff(0.01))
WASM = b"\0asm\x0d\0\1\0" + bytes(range(256)) * 40_000  # 10 MB: sent in two pieces
APP = SpinApp(
    "shop", "cart", routes=("/cart/...",), allowed_outbound_hosts=("https://api.example.com",),
    variables={"greeting": Variable("hello")}, component_variables={"greeting": "{{ greeting }}"},
    key_value_stores=("default",), files=(Mount("static"),),
)  # fmt: skip


class Told:
    """A journal that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shares: list[float] = []

    @asynccontextmanager
    async def stage(self, stage: Stage) -> AsyncIterator[None]:
        yield

    async def progress(self, done: float) -> None:
        self.shares.append(done)

    async def line(self, raw: bytes | str) -> None:
        self.lines.append(raw if isinstance(raw, str) else raw.decode())


class Pushing:
    """Artifacts of a blob store, pushed to one repository."""

    def __init__(self, root: Path, address: str) -> None:
        self.blobs = LocalBlobs(root / "blobs")
        self.repository = reference.parse(f"{address}/faas-app")
        self._spin = SpinPush(self.blobs, Scratch(root / "scratch", BuildUsers(190_000)))
        self.told = Told()

    async def artifact(self, wasm: bytes = WASM, app: SpinApp = APP, **files: bytes) -> Artifact:
        """As the builder of components makes them."""
        facts = {"wasm_digest": f"sha256:{hashlib.sha256(wasm).hexdigest()}", "app": app.as_json()}
        found = {"app.wasm": wasm, "app.cwasm": b"machine code", "artifact.json": json.dumps(facts).encode()}
        found |= {f"files/{name.replace('__', '/')}": content for name, content in files.items()}
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in found.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

        async def pieces() -> AsyncIterator[bytes]:
            yield out.getvalue()

        digest, size = await self.blobs.put_stream(pieces())
        return Artifact("sha256:" + "a" * 64, ArtifactKind.WASM, digest_key(digest), size, "app.py")

    async def push(self, artifact: Artifact, credentials: Credentials | None = None, tag: str = "") -> tuple[str, str]:
        async with connected(self.repository, credentials, plain=True, patience=HASTY) as client:
            return await self._spin.push(ids.new_sortable_id(), artifact, client, tag, self.told)
