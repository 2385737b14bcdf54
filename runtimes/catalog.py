"""The servers that run inside workloads, as files, versions, images and command lines: the face of this
package.

build_svc puts a server into an artifact or an image, deploy_svc starts it; neither knows more than is here.
"""

from runtimes.entrypoints import (
    RUNTIMES,
    Entrypoint,
    NoHandlerFound,
    Runtime,
    find_entrypoint,
    is_spin_code,
    runtime_of,
)
from runtimes.files import runtime_files, runtime_version, server_sources
from runtimes.images import BUILD_UID, PORT, RUN_UID, dockerfile, runtime_base_dockerfile
from runtimes.install import InstalledServer, install
from runtimes.launch import EventFormat, Launch, Placement, arguments, command

__all__ = [
    "BUILD_UID",
    "PORT",
    "RUNTIMES",
    "RUN_UID",
    "Entrypoint",
    "EventFormat",
    "InstalledServer",
    "Launch",
    "NoHandlerFound",
    "Placement",
    "Runtime",
    "arguments",
    "command",
    "dockerfile",
    "find_entrypoint",
    "install",
    "is_spin_code",
    "runtime_base_dockerfile",
    "runtime_files",
    "runtime_of",
    "runtime_version",
    "server_sources",
]
