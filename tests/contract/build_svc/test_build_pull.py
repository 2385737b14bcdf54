"""How much of an application of a registry is fetched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from build_svc.archive_check import ArchiveLimits
from build_svc.images import Images
from build_svc.oci.credentials import DockerCredentials
from build_svc.sources import Sources
from build_svc.spin_pull import SpinPull
from mesh.blobs import LocalBlobs
from mesh.errors import FailedPrecondition
from tests.contract.build_svc.build_rows import Rows
from tests.support.registry_stub import running_stub
from tests.support.spin_pushing import HASTY, Pushing

_LIMIT = 2**20
_WASM = b"\0asm\x0d\0\1\0"


async def test_all_files_of_an_application_together_are_limited(rows: Rows, tmp_path: Path) -> None:
    limits = ArchiveLimits(4 * _LIMIT, 100)
    sources = Sources(rows.shelf, LocalBlobs(tmp_path / "own"), max_bytes=4 * _LIMIT, limits=limits, spool=tmp_path)
    with running_stub() as stub:
        pull = SpinPull(sources, Images(DockerCredentials({}), patience=HASTY), max_bytes=_LIMIT, spool=tmp_path)
        pushing = Pushing(tmp_path, stub.address)
        one, *others = (os.urandom(_LIMIT // 3) for _ in range(4))

        small, _ = await pushing.push(await pushing.artifact(_WASM, one=one), tag="small")
        await pull.fetch(f"{stub.address}/faas-app:{small}")

        files = {f"file{number}": content for number, content in enumerate(others)}
        large, _ = await pushing.push(await pushing.artifact(_WASM, **files), tag="large")
        with pytest.raises(FailedPrecondition, match=r"together are larger than 1 MiB; leave out") as refused:
            await pull.fetch(f"{stub.address}/faas-app:{large}")

    assert refused.value.reason == "IMAGE_INVALID"
