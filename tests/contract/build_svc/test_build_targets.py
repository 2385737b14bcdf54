"""FNMESH_BUILD_PROCESS_TARGET: where nothing of the authors' is run by the mesh's own user."""

from __future__ import annotations

from pathlib import Path

import pytest

from build_svc.domain import Runtime, Target
from build_svc.targets import Targets
from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2
from mesh.clock import SystemClock
from mesh.errors import FailedPrecondition
from tests.contract.build_svc.build_world import HELLO, running_world
from tests.support.errors_page import answers

OFF = {"FNMESH_BUILD_PROCESS_TARGET": "false"}
SAID = answers("The machine")["a deploy to the target process where `FNMESH_BUILD_PROCESS_TARGET` is false"]
HANDLER = b"def handler(event):\n    return 1\n"


async def test_nothing_is_built_for_processes_and_no_row_is_left(tmp_path: Path, tmp_run_dir: Path) -> None:
    async with running_world(tmp_path, tmp_run_dir, **OFF) as (world, client):
        world.registry.functions["hello"].target = function_pb2.TARGET_PROCESS
        digest = await client.upload("handler.py", HANDLER)

        with pytest.raises(FailedPrecondition) as refused:
            await client.create(digest)

        listed = await client.stub.ListBuilds(pb.ListBuildsRequest(parent=HELLO))
    assert (refused.value.reason, refused.value.message) == ("TARGET_NOT_OFFERED", SAID)
    assert not world.registry.revisions and not listed.builds


async def test_what_becomes_one_for_processes_while_it_is_accepted_fails(tmp_path: Path, tmp_run_dir: Path) -> None:
    async with running_world(tmp_path, tmp_run_dir, **OFF) as (world, client):
        world.registry.moved_to = function_pb2.TARGET_PROCESS
        build, _ = await client.build("handler.py", HANDLER)

    assert (build.state, build.error) == (builds.BUILD_STATE_FAILED, SAID)


@pytest.mark.parametrize(
    ("processes", "clusters", "docker", "runtime", "target"),
    [
        (True, False, False, Runtime.PYTHON, Target.PROCESS),
        (True, True, True, None, Target.DOCKER),
        (True, True, False, Runtime.SPIN, Target.SPIN),
        (False, False, False, Runtime.PYTHON, Target.DOCKER),
        (False, False, True, Runtime.SPIN, Target.SPIN),
        (False, True, True, Runtime.NODE, Target.KUBERNETES),
        (False, True, False, Runtime.SPIN, Target.KUBERNETES),
    ],
)
async def test_where_functions_go_that_name_no_target(
    processes: bool, clusters: bool, docker: bool, runtime: Runtime | None, target: Target
) -> None:
    async def daemon_answers() -> bool:
        return docker

    found = await Targets(daemon_answers, SystemClock(), processes=processes, clusters=clusters).default(runtime)

    assert found is target
