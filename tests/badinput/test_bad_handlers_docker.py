"""Bad handlers in containers: what the daemon limits is named as such, and nothing is left of an instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import docker
import httpx
import pytest
from docker.models.containers import Container

from fnmesh.client import Mesh
from tests.support import processes
from tests.support.bad_function import CRASHING, BadFunction, deploy
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh
from tests.support.steady import steadily

pytestmark = pytest.mark.docker

MIB = 1 << 20


@pytest.fixture(scope="module")
def mesh_environ(docker_environ: dict[str, str]) -> Mapping[str, str]:
    """A mesh with a Docker daemon, where nobody waits long for the next start."""
    return CRASHING | docker_environ


@pytest.fixture(autouse=True)
def goes_on(mesh: RunningMesh, bystander: str, undisturbed: None) -> Iterator[None]:
    """Another function answers all the time, and from the same process."""
    with steadily(mesh.url, f"/api/{bystander}"):
        yield


@pytest.fixture(scope="module")
def small(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_python", "small", target="docker", memory="64Mi", timeout="20s")


@pytest.fixture(scope="module")
def wide(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_python", "wide", target="docker", memory="512Mi", timeout="1m")


@pytest.fixture(scope="module")
def brief(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_python", "brief", target="docker", memory="64Mi", timeout="500ms")


@pytest.fixture
def containers(docker_host: str, mesh: RunningMesh) -> Iterator[Containers]:
    daemon = docker.DockerClient(base_url=docker_host)
    yield Containers(daemon, (mesh.data_dir / "mesh_id").read_text().strip())
    daemon.close()


class Containers:
    """The containers of the mesh's functions."""

    def __init__(self, daemon: docker.DockerClient, mesh_id: str) -> None:
        self._daemon = daemon
        self._mesh_id = mesh_id

    def of(self, function: BadFunction, client: Mesh) -> list[Container]:
        labels = [f"fnmesh.mesh={self._mesh_id}", f"fnmesh.function={client.show(function.name).uid}"]
        listed = self._daemon.containers.list(all=True, filters={"label": labels}, ignore_removed=True)
        return list(listed)


def _replaced(function: BadFunction, client: Mesh, containers: Containers, ended: str, message: str) -> None:
    """The function answers from another container, its end is told, and nothing is left of it."""
    function.answers_again()
    function.ended_with(client, message)
    eventually_sync(lambda: ended not in [one.id for one in containers.of(function, client)], 20, interval_s=0.2)
    eventually_sync(lambda: len(containers.of(function, client)) == 1, 20, interval_s=0.2)


@pytest.mark.parametrize(
    ("what", "how", "message"),
    [
        ("eat", {"mib": 120}, "Out of memory: its limit is 64 MiB."),
        ("os_exit", {"code": 3}, "It exited with code 3."),
        ("overflow_stack", {}, "It was killed by signal 11 (SIGSEGV)."),
    ],
)
def test_an_instance_that_ends_is_named_and_replaced(
    small: BadFunction, client: Mesh, containers: Containers, what: str, how: dict[str, object], message: str
) -> None:
    small.answers_again()
    (before,) = containers.of(small, client)

    answer = small.ask(what, **how)

    assert (answer.status_code, answer.json()["reason"]) == (502, "WORKLOAD_CLOSED")
    _replaced(small, client, containers, before.id, message)


def test_out_of_memory_is_what_show_says(mesh: RunningMesh, small: BadFunction, client: Mesh) -> None:
    small.answers_again()
    small.ask("eat", mib=120)
    small.ended_with(client, "Out of memory: its limit is 64 MiB.")

    assert "Out of memory: its limit is 64 MiB." in mesh.cli("show", small.name).stdout
    assert "Out of memory: its limit is 64 MiB." in mesh.cli("logs", small.name).stdout
    small.answers_again()


@pytest.mark.node
def test_a_node_function_without_memory_is_named_as_such(mesh: RunningMesh, client: Mesh) -> None:
    function = deploy(mesh, "bad_node", "node-small", target="docker", memory="96Mi", timeout="20s")

    answer = function.ask("eat_buffers", mib=200)

    assert (answer.status_code, answer.json()["reason"]) == (502, "WORKLOAD_CLOSED")
    function.answers_again()
    function.ended_with(client, "Out of memory: its limit is 96 MiB.")


def test_a_handler_that_never_answers_costs_its_container(
    brief: BadFunction, client: Mesh, containers: Containers
) -> None:
    brief.answers_again()
    (before,) = containers.of(brief, client)

    answer = brief.ask("sleep")

    assert (answer.status_code, answer.json()["reason"]) == (504, "TIMEOUT")
    _replaced(brief, client, containers, before.id, "its handler did not stop at its time limit")


def test_forked_children_are_limited_and_end_with_their_container(
    wide: BadFunction, client: Mesh, containers: Containers
) -> None:
    wide.answers_again()
    (before,) = containers.of(wide, client)

    answer = wide.ask("fork", count=1000)

    assert answer.status_code == 200, answer.text
    assert 100 < answer.json()["made"] < 300
    assert answer.json()["error"] == "Resource temporarily unavailable"
    inside = [int(row[1]) for row in before.top()["Processes"]]
    assert len(inside) > 100
    wide.ask("os_exit")
    _replaced(wide, client, containers, before.id, "It exited with code 3.")
    eventually_sync(lambda: not any(processes.is_running(pid) for pid in inside), 10)


def test_files_go_nowhere_but_to_a_small_tmp(small: BadFunction) -> None:
    small.answers_again()

    assert set(small.ask("write_everywhere").json()) <= {"/tmp", "/dev/shm"}
    full = small.ask("fill", mib=100)
    assert (full.status_code, full.json()["errorType"]) == (500, "OSError"), full.text
    assert full.json()["errorMessage"] == "[Errno 28] No space left on device"
    small.ask("os_exit")


def test_a_container_gets_neither_to_the_mesh_nor_to_more_rights(mesh: RunningMesh, small: BadFunction) -> None:
    small.answers_again()
    port = mesh.server.rpartition(":")[2]

    reached = small.ask("reach", port=port).json()
    rights = small.ask("become_root").json()

    assert len(reached) == 2 and "connected" not in reached.values(), reached
    assert "done" not in rights.values(), rights
    assert small.ask("kill_parent").status_code == 200  # the first process of a container hears no signal from inside
    assert small.answers_again()


def test_an_answer_of_100_mb_streams_through(mesh: RunningMesh, wide: BadFunction) -> None:
    wide.answers_again()
    before = processes.reset_peak(mesh.service_pid("invoke"))
    received = 0

    with httpx.stream("GET", f"{mesh.url}/api/{wide.name}?do=large&mib=100", timeout=60, trust_env=False) as answer:
        for block in answer.iter_bytes():
            received += len(block)

    assert (answer.status_code, received) == (200, 100 * MIB)
    assert processes.peak_bytes(mesh.service_pid("invoke")) - before < 32 * MIB


def test_100_mb_of_output_are_bounded_everywhere(mesh: RunningMesh, wide: BadFunction, client: Mesh) -> None:
    wide.answers_again()
    before = processes.reset_peak(mesh.service_pid("deploy"))

    answer = wide.ask("print", mib=100, line=8191)

    assert answer.text == '"printed"'
    wide.ask("raise")
    last = "ValueError: the secret of the cellar"
    eventually_sync(lambda: any(last in line.text for line in wide.lines(client, tail=20)), 60, interval_s=0.2)
    assert processes.peak_bytes(mesh.service_pid("deploy")) - before < 64 * MIB
