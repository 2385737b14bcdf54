"""`python -m build_svc`: runs the service; `python -m build_svc migrate`: brings its tables up to date."""

import gc
import os

gc.disable()  # a sixth of the CPU of a start, and imports leave nothing to collect; `mesh.main.run` enables it again
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # builds are exec'ed at once; gRPC need not follow a fork

from build_svc import app
from build_svc.settings import BuildSettings
from mesh.main import run

if __name__ == "__main__":
    run(BuildSettings, app.running, migrate=app.migrate)
