"""The mesh's own bridge, on which containers do not reach each other."""

from __future__ import annotations

import docker

from deploy_svc.containers.container_spec import MESH_LABEL, network_name


def ensure_network(api: docker.APIClient, mesh_id: str) -> None:
    """Makes it unless it is there."""
    name, labels = network_name(mesh_id), {MESH_LABEL: mesh_id}
    if not api.networks(names=[name], filters={"label": f"{MESH_LABEL}={mesh_id}"}):
        options = {"com.docker.network.bridge.enable_icc": "false"}
        api.create_network(name, driver="bridge", options=options, labels=labels, check_duplicate=True)
