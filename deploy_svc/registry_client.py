"""The registry over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from deploy_svc.convert import STATES, to_desired, to_workload
from deploy_svc.domain import DeploymentState, Workload
from deploy_svc.ports import Report
from deploy_svc.store import Desired
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as pb_grpc


class RegistryClient:
    """Calls of RegistryInternalService over a channel of `mesh.rpc_client`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.RegistryInternalServiceStub(channel)

    async def workload(self, function_uid: str, revision: int) -> Workload:
        """What an instance of the revision needs."""
        request = pb.GetWorkloadRequest(function_uid=function_uid, revision_number=revision)
        return to_workload(function_uid, await self._stub.GetWorkload(request))

    async def report(self, report: Report) -> None:
        """Tell how a deployment is."""
        await self._stub.ReportDeployment(
            pb.ReportDeploymentRequest(
                function_uid=report.function_uid,
                version=report.version,
                state=STATES[DeploymentState(report.state)],
                message=report.message,
                report_version=report.number,
            )
        )

    async def report_deleted(self, function_uid: str) -> None:
        """Tell that nothing is left of a function."""
        await self._stub.ReportDeleted(pb.ReportDeletedRequest(function_uid=function_uid))

    async def resolve(self, name: str) -> Desired:
        """The function that a resource name names, by identifiers or display names. Raises NotFound."""
        return to_desired(await self._stub.ResolveFunction(pb.ResolveFunctionRequest(name=name)))

    async def watch(self, after_version: int) -> AsyncIterator[pb.WatchFunctionsResponse]:
        """Changes of functions after a version."""
        request = pb.WatchFunctionsRequest(after_version=after_version)
        async for message in self._stub.WatchFunctions(request):
            yield message
