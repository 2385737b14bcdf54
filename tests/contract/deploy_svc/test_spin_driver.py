"""The driver of the spin target with a real host program and a small component."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from deploy_svc.app import open_drivers
from deploy_svc.domain import Artifact, ArtifactKind, Limits, LogStream, Runtime, Target, Workload
from deploy_svc.frames import parse_line
from deploy_svc.ports import Driver, InstanceSpec
from deploy_svc.prober import HttpProber
from deploy_svc.spin.driver import SpinDriver
from mesh.errors import FailedPrecondition
from mesh.ids import new_id
from runtimes.spin.application import SpinApp, Variable
from runtimes.spin.compose import compose
from runtimes.spin.host import COMPILE_FLAGS, compile_argv
from tests.support import spin_tree, wasmtime_host
from tests.support.deploy_harness import DeployHarness, harness
from tests.support.errors_page import answers
from tests.support.eventually import eventually
from tests.support.spin_tree import APP, artifact_files

LIMITS = Limits(memory_bytes=64 << 20, cpu_millis=1000, timeout_ms=1000, concurrency=4)
UID = "fn-abcdefghijkl"
TOLD = answers("Spin components")
pytestmark = [pytest.mark.wasmtime, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[DeployHarness]:
    async with harness("unix:///nowhere/docker.sock") as one:
        one.settings["FNMESH_WORKLOAD_SPIN_HOST"] = str(wasmtime_host.host().path)
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(mesh: DeployHarness) -> AsyncIterator[Driver]:
    async with open_drivers(mesh.load_settings(), asyncio.Event()) as drivers, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(drivers[Target.SPIN].run())
        yield drivers[Target.SPIN]
        running.cancel()


async def spec_of(
    mesh: DeployHarness, files: dict[str, str | bytes] | None = None, *, limits: Limits = LIMITS, **env: str
) -> InstanceSpec:
    await mesh.revision(UID, 1, replace(spin_tree.spin_revision(), files=files or artifact_files()))
    made = mesh.registry.workloads[UID, 1].revision.artifact
    workload = Workload(
        function_uid=UID,
        function_name="probe",
        revision=1,
        runtime=Runtime.SPIN,
        target=Target.SPIN,
        artifact=Artifact(made.digest, ArtifactKind.WASM, made.reference, 1, "app.wasm"),
        limits=limits,
        handler="handler",
        event_format="v2",
        env=env,
    )
    return InstanceSpec(new_id("in-"), workload, slot=0)


@dataclass(frozen=True)
class Running:
    """An instance that listens; `key` lets requests in."""

    address: str
    handle: str
    key: str


async def started(mesh: DeployHarness, driver: Driver, spec: InstanceSpec) -> Running:
    one = await driver.start(spec)

    async def listens() -> bool:
        seen = (await driver.observe())[spec.uid]
        assert seen.exit is None, [line.text async for lines in driver.output(spec.uid, 0) for line in lines]
        return (await HttpProber().ready(one.address, 5, asks=False)).ready

    await eventually(listens, 60)
    return Running(one.address, one.handle, mesh.token.instance_key(spec.uid))


async def ask(one: Running, verb: str, headers: str = "") -> tuple[int, str]:
    return await spin_tree.ask(one.address, verb, f"x-fn-instance-key: {one.key}\r\n{headers}")


async def lines_of(driver: Driver, uid: str) -> list[tuple[str, LogStream, str]]:
    """What has been written by the end."""
    await driver.stop(uid, 5)
    found = [parse_line(line.text, line.stream) async for lines in driver.output(uid, 0) for line in lines]
    return [(one.text, one.stream, one.trace_id) for one in found]


async def test_it_says_which_host_there_is(driver: Driver) -> None:
    health = await driver.check()
    assert health.available and health.message.startswith("wasmtime ")


async def test_serves_until_it_is_stopped(mesh: DeployHarness, driver: Driver) -> None:
    spec = await spec_of(mesh)
    one = await started(mesh, driver, spec)
    assert await ask(one, "hello") == (200, "hello")
    again = await driver.start(spec)
    assert (again.address, again.handle) == (one.address, one.handle)
    await driver.stop(spec.uid, 5)
    assert (await driver.observe())[spec.uid].exit is not None
    await driver.remove(spec.uid)
    assert spec.uid not in await driver.observe()


async def test_variables_come_from_env_and_manifest_and_nothing_else_is_seen(
    mesh: DeployHarness, driver: Driver
) -> None:
    app = replace(
        APP,
        variables={"who": Variable(default="nobody"), "key": Variable(required=True, secret=True)},
        component_variables={"greeting": "hello {{ who }}, {{key}}"},
        environment={"LD_PRELOAD": "/nowhere.so", "COLOUR": "blue"},
    )
    spec = await spec_of(mesh, artifact_files(app), KEY="hunter2", WHO="you")
    one = await started(mesh, driver, spec)
    assert await ask(one, "variable:greeting") == (200, "hello you, hunter2")
    assert await ask(one, "variable:key") == (200, "hunter2")
    assert await ask(one, "config:who") == (200, "you")
    assert "'nothing' is not set" in (await ask(one, "variable:nothing"))[1]
    assert (await ask(one, "environment"))[1] == "COLOUR=blue\nLD_PRELOAD=/nowhere.so\ndirectories: 0"
    command = await asyncio.to_thread(Path(f"/proc/{one.handle.partition('@')[0]}/cmdline").read_bytes)
    assert b"hunter2" not in command


async def test_a_variable_that_nobody_gives_is_named(mesh: DeployHarness, driver: Driver) -> None:
    app = replace(APP, variables={"api_key": Variable(required=True)})
    with pytest.raises(FailedPrecondition) as refused:
        await driver.start(await spec_of(mesh, artifact_files(app)))
    assert refused.value.message == TOLD["a variable of spin.toml that nobody gives"]


async def test_key_value_data_outlives_the_instance(mesh: DeployHarness, driver: Driver) -> None:
    spec = await spec_of(mesh)
    one = await started(mesh, driver, spec)
    for verb, answer in (
        ("set:colour=blue", ""), ("get:colour", "blue"), ("exists:colour", "yes"), ("get:none", "(none)"),
        ("set:a/b%20c=x", ""), ("wasi-many:colour,none", "colour=blue none=(none) "), ("delete:colour", ""),
        ("exists:colour", "no"), ("delete:colour", ""), ("set:kept=1", ""),
    ):  # fmt: skip
        assert await ask(one, verb) == (200, answer), verb
    assert sorted((await ask(one, "keys"))[1].split()) == ["a/b%20c", "kept"]
    assert "at most 254" in (await ask(one, f"set:{'k' * 300}=1"))[1]
    assert (await ask(one, "open:../default"))[1].startswith("error 2")
    assert (await ask(one, "open:other"))[1].startswith("error 2")
    assert "not offered" in (await ask(one, "wasi-increment:kept"))[1]
    await driver.stop(spec.uid, 5)
    again = await started(mesh, driver, replace(spec, uid=new_id("in-")))
    assert await ask(again, "get:kept") == (200, "1")


async def test_a_function_with_too_much_data_can_only_delete(mesh: DeployHarness) -> None:
    settings = mesh.load_settings().model_copy(update={"deploy_scratch_bytes": 1 << 20})
    async with open_drivers(settings, asyncio.Event()) as drivers:
        own = drivers[Target.SPIN]
        assert isinstance(own, SpinDriver)
        one = await started(mesh, own, await spec_of(mesh))
        assert await ask(one, "set:small=1") == (200, "")
        large = mesh.data / "spin" / "key-value" / UID / "default" / "klarge"
        large.write_bytes(b"x" * (2 << 20))
        await asyncio.to_thread(own.watch_data)
        assert "over its limit" in (await ask(one, "set:small=2"))[1]
        assert await ask(one, "get:small") == (200, "1")
        assert await ask(one, "delete:large") == (200, "")
        await asyncio.to_thread(own.watch_data)
        assert await ask(one, "set:small=2") == (200, "")


async def test_what_is_not_offered_is_named(mesh: DeployHarness, driver: Driver) -> None:
    one = await started(mesh, driver, await spec_of(mesh))
    status, text = await ask(one, "absent")
    assert status == 200
    assert [line.split()[2] for line in text.splitlines()] == [
        "fermyon:spin/redis@2.0.0", "fermyon:spin/postgres@2.0.0", "fermyon:spin/mysql@2.0.0",
        "fermyon:spin/sqlite@2.0.0", "spin:postgres/postgres@3.0.0", "spin:postgres/postgres@4.0.0",
        "spin:sqlite/sqlite@3.0.0", "fermyon:spin/mqtt@2.0.0", "fermyon:spin/llm@2.0.0",
    ]  # fmt: skip
    assert all("is not offered by this host" in line for line in text.splitlines())


async def test_only_allowed_hosts_are_called(mesh: DeployHarness, driver: Driver) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    spec = await spec_of(mesh)
    one = await started(mesh, driver, spec)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await ask(one, f"out:http://127.0.0.1:{port}/x") == (200, "answered 204")
        assert await ask(one, f"out:http://127.0.0.2:{port}/x") == (200, "refused 15")
        assert await ask(one, f"out:https://127.0.0.1:{port}/x") == (200, "refused 15")
    assert "http://127.0.0.2:" in str(await lines_of(driver, spec.uid))


async def test_each_request_has_a_fresh_instance_unless_reuse_is_asked_for(mesh: DeployHarness, driver: Driver) -> None:
    one = await started(mesh, driver, await spec_of(mesh))
    assert [(await ask(one, "count"))[1] for _ in range(3)] == ["1", "1", "1"]
    other = await started(mesh, driver, await spec_of(mesh, SPIN_INSTANCE_REUSE="100"))
    # A busy machine may not have put an instance back when the next request comes: then there are two.
    assert max([int((await ask(other, "count"))[1]) for _ in range(20)]) > 2
    with pytest.raises(FailedPrecondition) as refused:
        await driver.start(await spec_of(mesh, SPIN_INSTANCE_REUSE="many"))
    assert refused.value.message == TOLD["SPIN_INSTANCE_REUSE that is no number"]


async def test_guests_that_misbehave_cost_only_their_request(mesh: DeployHarness, driver: Driver) -> None:
    spec = await spec_of(mesh)
    one = await started(mesh, driver, spec)
    for verb in ("trap", "loop", "sleep", "memory"):
        status, text = await ask(one, verb)
        assert status == 500 and "wasmtime" in text, verb
    assert await ask(one, "hello") == (200, "hello")
    said = [text for text, _, _ in await lines_of(driver, spec.uid)]
    assert said.count("Timeout: a request was stopped, since it took longer than its time limit.") == 2
    assert any(text.startswith("Out of memory: a request wanted") for text in said)
    assert any("wasm trap: wasm `unreachable` instruction executed" in text for text in said)


async def test_output_is_told_apart_by_request(mesh: DeployHarness, driver: Driver) -> None:
    spec = await spec_of(mesh)
    one = await started(mesh, driver, spec)
    traces = [f"{n:032x}" for n in (1, 2)]
    for n, trace in enumerate(traces):
        await ask(one, f"print:line{n}", f"traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n")
    await ask(one, "print:line2")
    assert await lines_of(driver, spec.uid) == [
        ("line0", LogStream.STDOUT, traces[0]), ("line0", LogStream.STDERR, traces[0]),
        ("line1", LogStream.STDOUT, traces[1]), ("line1", LogStream.STDERR, traces[1]),
        ("line2", LogStream.STDOUT, ""), ("line2", LogStream.STDERR, ""),
    ]  # fmt: skip


async def test_only_the_mesh_is_let_in(mesh: DeployHarness, driver: Driver) -> None:
    one = await started(mesh, driver, await spec_of(mesh))
    assert await ask(one, "hello") == (200, "hello")
    assert await spin_tree.ask(one.address, "hello") == (403, "")
    assert await ask(replace(one, key="0" * 32), "hello") == (403, "")
    assert await ask(one, "hello", "x-fn-instance-key: again\r\n") == (403, "")
    command = await asyncio.to_thread(Path(f"/proc/{one.handle.partition('@')[0]}/cmdline").read_bytes)
    assert one.key.encode() not in command


async def test_a_killed_host_is_seen(mesh: DeployHarness, driver: Driver) -> None:
    spec = await spec_of(mesh)
    one = await started(mesh, driver, spec)
    pid = int(one.handle.partition("@")[0])
    await asyncio.to_thread(os.kill, pid, signal.SIGKILL)

    async def gone() -> bool:
        seen = (await driver.observe())[spec.uid].exit
        return seen is not None and seen.signal == signal.SIGKILL

    await eventually(gone)


async def test_a_new_driver_of_the_mesh_sees_what_runs(mesh: DeployHarness, driver: Driver) -> None:
    spec = await spec_of(mesh)
    before = await started(mesh, driver, spec)
    async with open_drivers(mesh.load_settings(), asyncio.Event()) as others:
        seen = (await others[Target.SPIN].observe())[spec.uid]
        assert (seen.handle, seen.address, seen.exit) == (before.handle, before.address, None)
        assert spec.uid not in await others[Target.PROCESS].observe()
        assert await ask(before, "hello") == (200, "hello")
        await others[Target.SPIN].stop(spec.uid, 0)


async def test_compiled_code_is_only_loaded_with_its_hash(mesh: DeployHarness, driver: Driver, tmp_path: Path) -> None:
    host = wasmtime_host.host()
    composed, made = tmp_path / "composed.wasm", tmp_path / "app.cwasm"
    composed.write_bytes(compose(spin_tree.probe_wasm()))
    compiler = await asyncio.create_subprocess_exec(*compile_argv(host, composed, made))
    assert await compiler.wait() == 0
    code = made.read_bytes()
    facts = {"host": host.kind, "host_version": host.version, "flags": list(COMPILE_FLAGS)}
    sha256 = hashlib.sha256(code).hexdigest()
    own = mesh.data / "spin" / "compiled"
    await driver.keep_artifacts(frozenset())
    before = set(own.glob("*/*.cwasm"))
    good = artifact_files(cwasm_sha256=sha256, **facts) | {"app.cwasm": code}
    assert await ask(await started(mesh, driver, await spec_of(mesh, good)), "hello") == (200, "hello")
    assert set(own.glob("*/*.cwasm")) == before
    damaged = artifact_files(cwasm_sha256=sha256, **facts) | {"app.cwasm": code[:-1] + b"?"}
    assert await ask(await started(mesh, driver, await spec_of(mesh, damaged)), "hello") == (200, "hello")
    (kept,) = set(own.glob("*/*.cwasm")) - before
    number = kept.stat().st_ino
    kept.chmod(0o600)
    kept.write_bytes(b"something else")
    assert await ask(await started(mesh, driver, await spec_of(mesh, damaged)), "hello") == (200, "hello")
    assert kept.stat().st_ino != number and kept.read_bytes() != b"something else"


async def test_what_cannot_be_run_is_refused_in_words(mesh: DeployHarness, driver: Driver) -> None:
    cases = {
        b"\0asm\x01\0\0\0": "core module",
        spin_tree.probe_wasm()[:-100]: "cut off or damaged",
        b"#!/bin/sh\n": "no WebAssembly",
    }
    for content, words in cases.items():
        with pytest.raises(FailedPrecondition, match=words) as refused:
            await driver.start(await spec_of(mesh, artifact_files(wasm=content)))
        assert refused.value.reason == "COMPONENT_INVALID"
    changed = artifact_files(wasm_digest="sha256:" + "0" * 64)
    with pytest.raises(FailedPrecondition, match="not the one that was built"):
        await driver.start(await spec_of(mesh, changed))
    nothing = {"app.wasm": b"", "artifact.json": json.dumps({})}
    with pytest.raises(FailedPrecondition) as refused:
        await driver.start(await spec_of(mesh, dict(nothing)))
    assert refused.value.reason == "ARTIFACT_BROKEN"


async def test_the_wrong_kind_of_artifact_is_refused(mesh: DeployHarness, driver: Driver) -> None:
    spec = await spec_of(mesh)
    workload = replace(spec.workload, artifact=replace(spec.workload.artifact, kind=ArtifactKind.TREE))
    with pytest.raises(FailedPrecondition) as refused:
        await driver.start(replace(spec, workload=workload))
    assert refused.value.reason == "ARTIFACT_KIND"


async def test_a_missing_host_says_what_to_install(mesh: DeployHarness) -> None:
    settings = mesh.load_settings().model_copy(update={"workload_spin_host": "/nowhere/wasmtime"})
    async with open_drivers(settings, asyncio.Event()) as drivers:
        health = await drivers[Target.SPIN].check()
        assert not health.available
        assert health.message == TOLD["a Spin function without a program to run it"]
        with pytest.raises(FailedPrecondition) as refused:
            await drivers[Target.SPIN].start(await spec_of(mesh))
        assert refused.value.reason == "SPIN_HOST_MISSING"


_FAKE_SPIN = """#!/bin/sh
if [ "$1" = --version ]; then echo "spin 3.4.1 (abc 2025-10-01)"; exit 0; fi
echo "$@"; echo "$SPIN_VARIABLE_WORD"
exec sleep 60
"""


async def test_spin_itself_is_started_from_its_manifest(mesh: DeployHarness) -> None:
    fake = mesh.base / "spin"
    fake.write_text(_FAKE_SPIN)
    fake.chmod(0o755)
    settings = mesh.load_settings().model_copy(update={"workload_spin_host": str(fake)})
    async with open_drivers(settings, asyncio.Event()) as drivers:
        own = drivers[Target.SPIN]
        assert (await own.check()).message.startswith("spin 3.4.1;")
        spec = await spec_of(mesh, artifact_files(SpinApp(name="p", component="p")), WORD="swordfish")
        one = await own.start(spec)

        async def said() -> list[str]:
            text = (mesh.data / "spin" / "logs" / f"{spec.uid}.log").read_text().splitlines()
            assert len(text) == 2
            return text

        text = await eventually(said)
        assert text is not None
        words = text[0].split()
        assert words[:2] == ["up", "--from"] and words[2].endswith("/spin.toml")
        assert words[3:5] == ["--listen", one.address] and text[1] == "swordfish"
        await own.stop(spec.uid, 0)
