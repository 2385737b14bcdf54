"""Puts the targets of scripts together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from deploy_svc.containers.daemon import Daemon
from deploy_svc.process.toolchain import Toolchains
from deploy_svc.process.users import Users
from deploy_svc.scripts.docker_scripts import DockerScripts
from deploy_svc.scripts.ports import Language, ScriptTarget
from deploy_svc.scripts.processes import ProcessScripts, ScriptPlaces
from deploy_svc.scripts.service import ScriptServicer
from deploy_svc.settings import DeploySettings

_THREADS = 4


@asynccontextmanager
async def open_scripts(settings: DeploySettings, leads: Callable[[], None]) -> AsyncIterator[ScriptServicer]:
    """The service; `sweep` it before it is used."""
    executor = ThreadPoolExecutor(_THREADS, "deploy-script")
    daemon = Daemon(settings.deploy_docker_host)
    data, mesh_id = settings.data_dir.absolute(), settings.read_mesh_id()
    count = settings.deploy_uid_count
    processes = ProcessScripts(
        ScriptPlaces(settings.run_dir.absolute() / "s", data / "scripts", settings.deploy_scratch_bytes),
        Toolchains(data / "toolchain", python=settings.workload_python, node=settings.workload_node),
        Users(mesh_id, first=settings.deploy_uid_first, count=count),
        count,
        executor,
    )
    images: dict[Language, str] = {
        "python": settings.deploy_script_python_image,
        "node": settings.deploy_script_node_image,
    }
    targets: dict[str, ScriptTarget] = {"process": processes, "docker": DockerScripts(daemon, mesh_id, images)}
    try:
        yield ScriptServicer(targets, settings.local_targets, leads)
    finally:
        daemon.close()
        executor.shutdown(cancel_futures=True)
