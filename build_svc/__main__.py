"""`python -m build_svc`: runs the service; `python -m build_svc migrate`: brings its tables up to date."""

from build_svc import app
from build_svc.settings import BuildSettings
from mesh.main import run

if __name__ == "__main__":
    run(BuildSettings, app.running, migrate=app.migrate)
