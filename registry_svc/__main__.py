"""`python -m registry_svc [migrate | create-admin-key | has-admin-key]`."""

import gc

gc.disable()  # a sixth of the CPU of a start, and imports leave nothing to collect; `mesh.main.run` enables it again

from mesh.main import run
from registry_svc import app, bootstrap
from registry_svc.settings import RegistrySettings

if __name__ == "__main__":
    run(
        RegistrySettings,
        app.running,
        migrate=bootstrap.migrate,
        commands={
            "create-admin-key": bootstrap.create_admin_key_command,
            "has-admin-key": bootstrap.has_admin_key_command,
        },
    )
