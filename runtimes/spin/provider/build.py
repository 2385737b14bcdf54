"""Builds provider.wasm, front.wasm, and the component that tests use, from their sources.

    python -m runtimes.spin.provider.build TOOLS [OUT]      # `make provider` makes TOOLS

TOOLS is a directory with `venv` (requirements.txt) and `node_modules` (package.json); OUT one for the results, else
they replace the committed ones. The same tools make the same bytes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runtimes.spin.assembly import Assembly
from runtimes.spin.binary import Section, read_exports, read_imports, sections

HERE = Path(__file__).parent
PROBE = HERE.parents[2] / "tests" / "support" / "spin_probe"
COMPILE = (
    *("-m", "ziglang", "cc", "-target", "wasm32-freestanding", "-mcpu=generic+bulk_memory", "-Oz", "-s", "-nostdlib"),
    *("-Wl,--no-entry", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-I", "."),
)
_PACKAGE = re.compile(r"^package\s+([^;\s]+)\s*;", re.MULTILINE)


class Tools:
    """What is in TOOLS."""

    def __init__(self, root: Path) -> None:
        self._python = root / "venv/bin/python"
        self._jco = root / "node_modules/@bytecodealliance/jco-transpile"
        self._root = root

    def compile(self, sources: Sequence[Path], out: Path) -> None:
        """Core module of C sources."""
        subprocess.run([self._python.absolute(), *COMPILE, "-o", out, *sources], cwd=HERE, check=True)

    def embed(self, wit: Path, world: str, out: Path, *core: Path) -> bytes:
        """Component of a core module."""
        argv: list[str | Path] = ["node", HERE / "embed.mjs", self._jco.absolute(), wit, world, *core, out]
        subprocess.run(argv, check=True)
        return out.read_bytes()

    def packages(self) -> str:
        """The WIT of Spin and of the WASI that it has, as the SDK brings it, as text to go after a world."""
        (wit,) = (self._root / "venv").glob("lib/python3*/site-packages/spin_sdk/wit")
        spin = [path for path in sorted(wit.glob("*.wit")) if path.name != "spin.wit"]
        found = [("fermyon:spin@2.0.0", "\n".join(path.read_text() for path in spin))]
        for directory in sorted((wit / "deps").iterdir()):
            if directory.name.startswith("spin@"):
                continue  # worlds only, of Spin's own
            text = "\n".join(path.read_text() for path in sorted(directory.glob("*.wit")))
            name = _PACKAGE.search(text)
            assert name is not None, directory
            found.append((name.group(1), _PACKAGE.sub("", text)))
        return "".join(f"\npackage {name} {{\n{text}\n}}\n" for name, text in found)


def build(tools: Tools, provider: Path, front: Path, probe: Path) -> None:
    """Writes the components."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        wit, core, out = scratch / "world.wit", scratch / "core.wasm", scratch / "out.wasm"
        packages = tools.packages()

        wit.write_text((HERE / "provider.wit").read_text() + packages)
        tools.compile(sorted(HERE.glob("*.c")), core)
        provider.write_bytes(with_all_imports(tools.embed(wit, "host", out), tools.embed(wit, "provider", out, core)))

        tools.compile([HERE / "front" / "front.c", HERE / "base.c"], core)
        front.write_bytes(tools.embed(wit, "front", out, core))

        wit.write_text((PROBE / "probe.wit").read_text() + packages)
        tools.compile([PROBE / "probe.c", HERE / "base.c"], core)
        probe.write_bytes(tools.embed(wit, "probe", out, core))


def with_all_imports(host: bytes, inner: bytes) -> bytes:
    """The component `inner` in one that imports all that `host` does, with complete types, and exports the same.

    Tools leave out of a component's imports what it does not call; what an app calls must be there, though.
    """
    made = Assembly(host)
    imports = [one for kind, body in sections(inner) if kind is Section.IMPORT for one in read_imports(body)]
    exports = [one for kind, body in sections(inner) if kind is Section.EXPORT for one in read_exports(body)]
    instance = made.instantiate(inner, {one.name: made.imported[one.name] for one in imports})
    for one in exports:
        made.export(one.name, made.exported_by(instance, one.name))
    return made.component()


if __name__ == "__main__":
    to = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    build(
        Tools(Path(sys.argv[1])),
        (to or HERE) / "provider.wasm",
        (to or HERE) / "front.wasm",
        (to or PROBE) / "probe.wasm",
    )
