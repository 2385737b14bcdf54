"""FNMESH_DEPLOY_LOCAL_TARGETS: what functions are put on, and what is said of the rest."""

from __future__ import annotations

import pytest

from deploy_svc.settings import DeploySettings
from fnmesh.deploy.v1 import deploy_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2 as f
from mesh.settings import SettingsError
from tests.support.deploy_harness import Revision, harness

UID = "fn-abcdefghijkl"
_SENTENCE = (
    "This mesh runs nothing on the target process: deploy the function to another target, "
    "or name process in FNMESH_DEPLOY_LOCAL_TARGETS."
)


async def test_what_is_not_offered_is_said_and_starts_nothing() -> None:
    async with harness("unix:///nowhere/docker.sock") as mesh:
        mesh.settings["FNMESH_DEPLOY_LOCAL_TARGETS"] = "none"
        async with mesh.here(), mesh.client() as client:
            answer = await client.deploy.ListTargets(pb.ListTargetsRequest())
            told = {one.target: one for one in answer.targets}
            local = (f.TARGET_PROCESS, f.TARGET_DOCKER, f.TARGET_SPIN)
            assert not any(told[target].available for target in local)
            assert told[f.TARGET_PROCESS].message == _SENTENCE

            await mesh.want(UID, 1, Revision(files={"app/handler.py": "def handler(event): pass\n"}))
            failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED)
            assert _SENTENCE in failed.message


async def test_others_are_as_ever() -> None:
    async with harness("unix:///nowhere/docker.sock") as mesh:
        mesh.settings["FNMESH_DEPLOY_LOCAL_TARGETS"] = "process, docker"
        async with mesh.here(), mesh.client() as client:
            await mesh.want(UID, 1, Revision(files={"app/handler.py": "def handler(event): pass\n"}))
            await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)


def test_a_target_that_is_none_of_this_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"FNMESH_DEPLOY_LOCAL_TARGETS is wrong: .*'kubernetes' is none of"):
        DeploySettings.load({"FNMESH_DEPLOY_LOCAL_TARGETS": "process,kubernetes"})
