"""`python -m gateway`: the gateway; `python -m gateway bootstrap --out FILE.pb`: Envoy's bootstrap."""

from __future__ import annotations

import gc

gc.disable()  # a sixth of the CPU of a start, and imports leave nothing to collect; `mesh.main.run` enables it again

import argparse
from collections.abc import Sequence
from pathlib import Path

from gateway.app import app
from gateway.envoy.compiled import compiled
from gateway.settings import GatewaySettings
from mesh.main import run


async def bootstrap(settings: GatewaySettings, arguments: Sequence[str]) -> None:
    """Writes Envoy's bootstrap."""
    parser = argparse.ArgumentParser(prog="python -m gateway bootstrap")
    parser.add_argument("--out", type=Path, required=True, help="file to write, ending in .pb")
    made = await compiled(settings.envoy_spec(), settings.envoy_cache)
    made.write_bootstrap(parser.parse_args(list(arguments)).out)


if __name__ == "__main__":
    run(GatewaySettings, app, commands={"bootstrap": bootstrap})
