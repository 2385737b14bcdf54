"""Runs deploy_svc: `python -m deploy_svc`, and its subcommands `migrate` and `reap`."""

import gc
import os

gc.disable()  # a sixth of the CPU of a start, and imports leave nothing to collect; `mesh.main.run` enables it again
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # workloads are exec'ed at once; gRPC need not follow a fork

from deploy_svc.app import migrate
from deploy_svc.reap import reap, reaping_app
from deploy_svc.settings import DeploySettings
from mesh.main import run

if __name__ == "__main__":
    run(DeploySettings, reaping_app, migrate=migrate, commands={"reap": reap})
