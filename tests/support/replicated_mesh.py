"""A mesh of which every service runs twice, on one PostgreSQL and behind one Envoy: processes of the test's own."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.up.environment import child_environment
from cli.up.listen import Listen, claim
from cli.up.places import Places, make_data_dir, make_run_dir
from cli.up.plan import ENVOY, SERVICES
from fnmesh.client.health import serves
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.ports import is_free
from tests.support.running_mesh import ROOT, clean_environ, processes_that_name, shared_cache

REPLICAS = 2
READY_WITHIN_S = 60.0
_STOPS_WITHIN_S = 30.0
_OVER_TCP = ("registry", "deploy")
"""Services that are reached over loopback; the others over unix sockets."""


@dataclass
class Replica:
    """One process of a service, or Envoy, and where it listens."""

    service: str
    number: int
    argv: list[str]
    environ: dict[str, str]
    address: str
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.argv, env=self.environ, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL; on return there is no such process any more."""
        self.signal(signal.SIGKILL)
        self.wait()

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process is not None
        return self.process.wait(_STOPS_WITHIN_S)

    def events(self, name: str) -> int:
        """How many events of that name its log has."""
        return len(self._times_of(name))

    def newest_event(self, name: str) -> str:
        """When it last logged such an event; empty where it never did."""
        return max(self._times_of(name), default="")

    def _times_of(self, name: str) -> list[str]:
        times = []
        for line in self.log.read_text(errors="replace").splitlines() if self.log.exists() else ():
            if f'"{name}"' in line:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if event.get("event") == name:
                        times.append(str(event["time"]))
        return times


class ReplicatedMesh:
    """Two of each service. Looks like a RunningMesh to those who look at its processes and files."""

    programs: Mapping[str, int] = {ENVOY: 1, **dict.fromkeys(SERVICES, REPLICAS)}

    def __init__(self, database_url: str, *, environ: Mapping[str, str] | None = None) -> None:
        self.data_dir = Path(tempfile.mkdtemp(prefix="fnm-two-", dir="/tmp"))
        self.run_dir = Path(tempfile.mkdtemp(prefix="fnm-two-run-", dir="/tmp"))
        self._listen = claim(Listen("127.0.0.1", 0))
        self._places = Places(self.data_dir, self.run_dir)
        given = {**clean_environ(), **shared_cache(), "HOME": str(self.data_dir), **(environ or {})}
        self._environ = {
            **child_environment(given, self._places, self._listen),
            "FNMESH_DATABASE_URL": database_url,
        }
        make_data_dir(self._places)
        make_run_dir(self._places)
        self.replicas = self._planned()
        self.envoy = self._planned_envoy()

    @property
    def url(self) -> str:
        return self._listen.url

    @property
    def server(self) -> str:
        """`host:port`."""
        return self._listen.address

    def of(self, service: str) -> list[Replica]:
        """The processes of a service."""
        return [one for one in self.replicas if one.service == service]

    async def start(self) -> None:
        """Starts all; on return Envoy sends requests to all of them."""
        for one in self.replicas:
            one.start()
        await eventually(lambda: self._places.envoy_bootstrap.exists() or self._failed(), READY_WITHIN_S)
        self.envoy.start()
        for one in self.replicas:
            await self.is_back(one)

    async def is_back(self, one: Replica, *, joined_before: int = 0) -> None:
        """Returns once a process serves and all gateways know it. `joined_before` is how often it said so earlier."""
        await eventually(lambda: serves(one.address), READY_WITHIN_S, interval_s=0.05)
        if one.service != "gateway":
            gateways = len(self.of("gateway"))
            await eventually(lambda: one.events("mesh_joined") >= joined_before + gateways, READY_WITHIN_S)

    async def restart(self, one: Replica) -> None:
        """Starts a process again that has ended; on return all is as it was."""
        before = {other.name: other.events("mesh_joined") for other in self.replicas}
        one.start()
        await self.is_back(one, joined_before=before[one.name])
        if one.service == "gateway":  # it has forgotten who is a member
            for other in self.replicas:
                if other.service != "gateway":
                    joined = before[other.name] + 1
                    await eventually(lambda o=other, j=joined: o.events("mesh_joined") >= j, READY_WITHIN_S)

    def remove(self) -> None:
        """Ends whatever is left, and removes its data."""
        for one in [*self.replicas, self.envoy]:
            if one.runs:
                one.kill()
        subprocess.run(
            [sys.executable, "-m", "deploy_svc", "reap"], env=self._environ, cwd=ROOT, check=False, timeout=60,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for pid in self.processes():
            processes.kill(pid)
        for directory in (self.data_dir, self.run_dir):
            shutil.rmtree(directory, ignore_errors=True)

    def processes(self) -> list[int]:
        """All processes that have to do with its directories."""
        return processes_that_name(str(self.data_dir), self.run_dir.name)

    def errors(self) -> str:
        """What nobody but the services wrote: nothing."""
        return ""

    def _failed(self) -> bool:
        over = next((one for one in self.replicas if not one.runs), None)
        if over is not None:
            raise RuntimeError(f"{over.name} has ended: {over.log.read_text()[-2000:]}")
        return False

    def _planned(self) -> list[Replica]:
        addresses = {
            service: [self._address(service, number) for number in range(1, REPLICAS + 1)] for service in SERVICES
        }
        rest = [f"unix:{self.run_dir}/m/gateway-rest-{number}.sock" for number in range(1, REPLICAS + 1)]
        common = {
            **self._environ,
            **{f"FNMESH_{service.upper()}_ADDRESS": ",".join(places) for service, places in addresses.items()},
            "FNMESH_GATEWAY_REST_ADDRESS": ",".join(rest),
        }
        planned = []
        for service, module in SERVICES.items():
            for number, address in enumerate(addresses[service], 1):
                own = {"FNMESH_LISTEN_ADDRESS": address, "FNMESH_GATEWAY_REST_LISTEN": rest[number - 1]}
                log = self.data_dir / "logs" / f"{service}-{number}.log"
                argv = [sys.executable, "-m", module]
                planned.append(Replica(service, number, argv, {**common, **own}, address, log))
        return planned

    def _planned_envoy(self) -> Replica:
        argv = [sys.executable, "-m", "gateway.envoy", "--bootstrap", str(self._places.envoy_bootstrap)]
        return Replica(ENVOY, 1, argv, self._environ, self._listen.address, self.data_dir / "logs" / "envoy.log")

    def _address(self, service: str, number: int) -> str:
        if service in _OVER_TCP:
            return f"127.0.0.1:{_kept_port()}"
        return f"unix:{self.run_dir}/m/{service}-{number}.sock"


def _kept_port() -> int:
    """A free port that no client is given by chance while the server that has it is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        if is_free(port):
            return port
