"""Runs deploy_svc: `python -m deploy_svc`, and its subcommands `migrate` and `reap`."""

from deploy_svc.app import app, migrate
from deploy_svc.reap import reap
from deploy_svc.settings import DeploySettings
from mesh.main import run

if __name__ == "__main__":
    run(DeploySettings, app, migrate=migrate, commands={"reap": reap})
