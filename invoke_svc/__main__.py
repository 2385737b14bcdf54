"""`python -m invoke_svc` runs the service, `python -m invoke_svc migrate` brings its database up to date."""

from __future__ import annotations

import gc

gc.disable()  # a sixth of the CPU of a start, and imports leave nothing to collect; `mesh.main.run` enables it again

from invoke_svc.app import app, migrate
from invoke_svc.settings import InvokeSettings
from mesh.main import run

if __name__ == "__main__":
    run(InvokeSettings, app, migrate=migrate)
