"""FNMESH_DEPLOY_LOCAL_TARGETS: what functions are put on and scripts run on, and what is said of the rest."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from deploy_svc.scripts.ports import RunningScript, ScriptSpec
from deploy_svc.scripts.service import ScriptServicer
from deploy_svc.settings import DeploySettings
from fnmesh.deploy.v1 import deploy_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2 as f
from mesh.errors import FailedPrecondition, InvalidArgument
from mesh.settings import SettingsError
from tests.support.deploy_harness import Revision, harness
from tests.support.errors_page import answers
from tests.support.scripts import order, run_script

UID = "fn-abcdefghijkl"
_ROW = "a deploy to a target that `FNMESH_DEPLOY_LOCAL_TARGETS` leaves out"
_SCRIPT_ROW = "a job of a script for a target that `FNMESH_DEPLOY_LOCAL_TARGETS` leaves out"
_SENTENCE = answers("The machine")[_ROW]


async def test_what_is_not_offered_is_said_and_starts_nothing() -> None:
    async with harness("unix:///nowhere/docker.sock") as mesh:
        mesh.settings["FNMESH_DEPLOY_LOCAL_TARGETS"] = "none"
        async with mesh.here(), mesh.client() as client:
            answer = await client.deploy.ListTargets(pb.ListTargetsRequest())
            told = {one.target: one for one in answer.targets}
            local = (f.TARGET_PROCESS, f.TARGET_DOCKER, f.TARGET_SPIN)
            assert not any(told[target].available for target in local)
            assert told[f.TARGET_PROCESS].message == _SENTENCE
            assert answer.default_target == f.TARGET_KUBERNETES

            await mesh.want(UID, 1, Revision(files={"app/handler.py": "def handler(event): pass\n"}))
            failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED)
            assert _SENTENCE in failed.message


async def test_others_are_as_ever() -> None:
    async with harness("unix:///nowhere/docker.sock") as mesh:
        mesh.settings["FNMESH_DEPLOY_LOCAL_TARGETS"] = "process, docker"
        async with mesh.here(), mesh.client() as client:
            await mesh.want(UID, 1, Revision(files={"app/handler.py": "def handler(event): pass\n"}))
            await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)


async def test_a_script_for_what_is_not_offered_is_refused_before_anything_is_asked_of_the_target() -> None:
    async with harness("unix:///nowhere/docker.sock") as mesh:
        mesh.settings["FNMESH_DEPLOY_LOCAL_TARGETS"] = "none"
        async with mesh.here():
            for target in ("process", "docker"):
                with pytest.raises(FailedPrecondition) as refused:
                    await run_script(mesh, order("print(1)", target=target))
                said = answers("The machine")[_SCRIPT_ROW].replace("process", target)
                assert (refused.value.reason, refused.value.message) == ("TARGET_NOT_OFFERED", said)
            with pytest.raises(InvalidArgument):
                await run_script(mesh, order("print(1)", target="moon"))


async def test_scripts_that_were_left_on_what_is_not_offered_any_more_end() -> None:
    class Left:
        swept = False

        def running(self, spec: ScriptSpec) -> AbstractAsyncContextManager[RunningScript]:
            raise AssertionError("nothing runs here")

        async def sweep(self) -> None:
            self.swept = True

    left = Left()
    await ScriptServicer({"process": left}, frozenset({"docker"}), lambda: None).sweep()

    assert left.swept


def test_a_target_that_is_none_of_this_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"FNMESH_DEPLOY_LOCAL_TARGETS is wrong: .*'kubernetes' is none of"):
        DeploySettings.load({"FNMESH_DEPLOY_LOCAL_TARGETS": "process,kubernetes"})
