"""Running scripts at deploy_svc's ScriptService, as invoke_svc does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fnmesh.internal.deploy.v1 import script_service_pb2 as pb
from fnmesh.internal.deploy.v1 import script_service_pb2_grpc as pb_grpc
from mesh.rpc_client import open_channel
from tests.support.deploy_harness import DeployHarness


@dataclass
class Ran:
    """What a script did."""

    handle: str = ""
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)
    exited: pb.ScriptExited = field(default_factory=pb.ScriptExited)

    def take(self, message: pb.RunScriptResponse) -> None:
        kind = message.WhichOneof("message")
        if kind == "started":
            self.handle = message.started.handle
        elif kind == "output":
            for line in message.output.lines:
                (self.stderr if line.stderr else self.stdout).append(line.text.decode())
        else:
            self.exited = message.exited


def order(code: str, run: str = "job-1", **fields: Any) -> pb.RunScriptRequest:
    """A request; `timeout_s` and any field of it."""
    timeout_s = fields.pop("timeout_s", 30)
    fields = {"language": "python", "target": "process", "memory_bytes": 128 << 20, "event": b"{}", **fields}
    request = pb.RunScriptRequest(run=run, code=code.encode(), **fields)
    request.timeout.FromMilliseconds(int(timeout_s * 1000))
    return request


async def run_script(mesh: DeployHarness, request: pb.RunScriptRequest) -> Ran:
    """Runs it to its end."""
    ran = Ran()
    async with open_channel(mesh.load_settings().deploy_address, token=mesh.token) as channel:
        async for message in pb_grpc.ScriptServiceStub(channel).RunScript(request):
            ran.take(message)
    return ran
