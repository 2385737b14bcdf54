"""The Python client of a mesh.

    from fnmesh.client import Mesh

    with Mesh("127.0.0.1:8080") as mesh:
        deploy = mesh.deploy("hello", memory="128Mi")
        for event in deploy.events():
            print(event)
        print(deploy.wait(), deploy.url)
        print(mesh.invoke("hello", {"name": "x"}).json())
        job = mesh.jobs.run("hello", {"name": "x"})
        print(mesh.jobs.result(job))

docs/client.md tells all of it. `AsyncMesh` has the same methods as coroutines and async iterators. What they return are
the messages of the API (`fnmesh.registry.v1.Function` and so on); what they raise is a `FnmeshError`.
"""

from fnmesh.client.answer import Answer
from fnmesh.client.async_mesh import AsyncMesh
from fnmesh.client.deploying import AsyncDeploy
from fnmesh.client.errors import (
    Aborted,
    AlreadyExists,
    BuildFailed,
    DeadlineExceeded,
    DeployFailed,
    FailedPrecondition,
    FnmeshError,
    HandlerFailed,
    InvalidArgument,
    JobFailed,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    RpcFailed,
    SourceError,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from fnmesh.client.mesh import Deploy, Mesh
from fnmesh.client.settings import FunctionSettings

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Answer",
    "AsyncDeploy",
    "AsyncMesh",
    "BuildFailed",
    "DeadlineExceeded",
    "Deploy",
    "DeployFailed",
    "FailedPrecondition",
    "FnmeshError",
    "FunctionSettings",
    "HandlerFailed",
    "InvalidArgument",
    "JobFailed",
    "Mesh",
    "NotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "RpcFailed",
    "SourceError",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
]
