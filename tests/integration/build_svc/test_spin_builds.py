"""Components made with the real toolchain: what is in an artifact, what is refused, and what authors' code may do."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.registry.v1 import function_pb2, revision_pb2
from mesh.blobs import LocalBlobs
from runtimes.spin import manifest
from runtimes.spin.binary import PREAMBLE, Section, name_bytes, section_bytes, u32
from runtimes.spin.compose import HANDLER as HANDLER_INTERFACE
from tests.contract.build_svc.build_world import Client, World, lines, running_world, zipped
from tests.support import spin_toolchain
from tests.support.errors_page import answers

pytestmark = [pytest.mark.wasmtime, pytest.mark.timeout(420)]  # the first one installs the toolchain
SAID = answers("Spin components")
HANDLER = """
from spin_sdk import http
from spin_sdk.http import Request, Response


class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request: Request) -> Response:
        return Response(200, {}, b"ok")
"""
MANIFEST = (spin_toolchain.HELLO / "spin.toml").read_text()


@asynccontextmanager
async def borrowing(
    root: Path, run_dir: Path, home: Path, *, cache: bool = True, **settings: str
) -> AsyncIterator[tuple[World, Client]]:
    spin_toolchain.lend(home, root / "work", cache=cache)
    async with running_world(root, run_dir, FNMESH_BUILD_WORK_DIR=str(root / "work"), **settings) as both:
        yield both


@pytest.fixture
async def spin(data_dir: Path, tmp_run_dir: Path, spin_home: Path) -> AsyncIterator[tuple[World, Client]]:
    """A builder that has the toolchain and the component of the example."""
    async with borrowing(data_dir, tmp_run_dir, spin_home) as both:
        yield both


@pytest.fixture
def world(spin: tuple[World, Client]) -> World:
    return spin[0]


@pytest.fixture
def client(spin: tuple[World, Client]) -> Client:
    return spin[1]


async def contents(world: World, build: builds.Build) -> dict[str, bytes]:
    """The files of an artifact."""
    assert build.state == builds.BUILD_STATE_DONE, build.error
    blobs = LocalBlobs(Path(world.settings().blob_url))
    with tarfile.open(fileobj=io.BytesIO(await blobs.get(build.artifact.reference))) as archive:
        files = {}
        for entry in archive:
            assert not entry.mode & 0o022
            if (content := archive.extractfile(entry)) is not None:
                files[entry.name] = content.read()
    return files


async def test_an_artifact_has_the_component_as_it_was_made_and_all_that_is_known_of_it(
    world: World, client: Client
) -> None:
    first, events = await client.build("hello.zip", zipped(spin_toolchain.hello()))
    files = await contents(world, first)
    known = json.loads(files["artifact.json"])
    again, _ = await client.build("hello.zip", zipped(spin_toolchain.hello()))
    stages = [event.progress.stage for event in events if event.WhichOneof("event") == "progress"]
    percents = [event.progress.percent for event in events if event.WhichOneof("event") == "progress"]

    assert first.artifact.kind == revision_pb2.ARTIFACT_KIND_WASM
    assert world.registry.revisions[first.revision].runtime == function_pb2.RUNTIME_SPIN
    assert world.registry.revisions[first.revision].target == function_pb2.TARGET_SPIN
    assert known["wasm_digest"] == "sha256:" + hashlib.sha256(files["app.wasm"]).hexdigest()
    assert known["cwasm_sha256"] == hashlib.sha256(files["app.cwasm"]).hexdigest()
    assert known["host"] == "wasmtime"
    assert known["host_version"]
    assert known["toolchain"]["componentize-py"] == world.settings().build_spin_componentize_version
    assert manifest.from_json(known["app"]) == manifest.parse(MANIFEST.encode())
    assert files["spin.toml"].decode() == MANIFEST
    assert percents == sorted(percents)
    assert stages[-1] == builds.STAGE_PUSH
    assert again.cached
    assert again.artifact == first.artifact


async def test_another_manifest_needs_no_new_component(world: World, client: Client) -> None:
    changed = MANIFEST.replace('"/..."', '"/other/..."').replace("[]", '["https://example.com"]')
    source = spin_toolchain.hello(spin__toml=changed + 'files = [{ source = "app.py", destination = "/code/it.py" }]\n')
    first, _ = await client.build("hello.zip", zipped(spin_toolchain.hello()))
    second, events = await client.build("hello.zip", zipped(source))
    one, two = await contents(world, first), await contents(world, second)

    assert json.loads(two["artifact.json"])["app"]["allowed_outbound_hosts"] == ["https://example.com"]
    assert two["files/code/it.py"].decode() == source["app.py"]
    assert "The component is the one of an earlier build of the same code." in lines(events)
    assert one["app.wasm"] == two["app.wasm"]


async def test_a_component_of_another_language_is_taken_as_it_is(world: World, client: Client, data_dir: Path) -> None:
    python, _ = await client.build("hello.zip", zipped(spin_toolchain.hello()))
    wasm = (await contents(world, python))["app.wasm"]
    run = f'\n[component.hello-spin.build]\ncommand = "touch {data_dir}/run; exit 1"\n'
    brought, _ = await client.build("hello.zip", zipped({"spin.toml": MANIFEST + run, "app.wasm": wasm}))
    files = await contents(world, brought)

    assert files["app.wasm"] == wasm
    assert json.loads(files["artifact.json"])["toolchain"] == {}
    assert not any(name == "run" for name in os.listdir(data_dir))


async def test_without_a_host_program_nothing_is_compiled(data_dir: Path, tmp_run_dir: Path, spin_home: Path) -> None:
    nowhere = {"FNMESH_WORKLOAD_SPIN_HOST": str(data_dir / "wasmtime")}
    async with borrowing(data_dir, tmp_run_dir, spin_home, **nowhere) as (world, client):
        build, events = await client.build("hello.zip", zipped(spin_toolchain.hello()))
        files = await contents(world, build)

    assert set(files) == {"app.wasm", "spin.toml", "artifact.json"}
    assert json.loads(files["artifact.json"])["host"] == ""
    assert any("no host program" in line for line in lines(events))


async def test_every_type_error_is_told(client: Client) -> None:
    wrong = HANDLER.replace('{}, b"ok"', '{}, "ok"') + 'number: int = "text"\n'
    build, events = await client.build("app.py", wrong.encode())

    assert build.state == builds.BUILD_STATE_FAILED
    assert build.stage == builds.STAGE_CHECK
    assert build.error.splitlines() == [
        'MyPy validation failed: app.py:8: error: Argument 3 to "Response" has incompatible type "str"; '
        'expected "bytes | None"  [arg-type]',
        'app.py:9: error: Incompatible types in assignment (expression has type "str", variable has type "int")'
        "  [assignment]",
    ]
    assert build.error.splitlines()[1] in lines(events)


def component(*imports: str) -> bytes:
    """A component that imports empty interfaces of these names, and exports the first one as its handler."""
    pieces = [
        *section_bytes(Section.TYPE, b"\x01\x42\x00"),
        *section_bytes(Section.IMPORT, u32(len(imports)), *(b"\0" + name_bytes(one) + b"\x05\0" for one in imports)),
        *section_bytes(Section.EXPORT, b"\x01\0", name_bytes(f"{HANDLER_INTERFACE}@0.2.0"), b"\x05\0\0"),
    ]
    return PREAMBLE + b"".join(pieces)


BAD: dict[str, dict[str, str | bytes]] = {
    "no spin.toml in a `.zip` or a directory": {"app.py": HANDLER},
    "spin.toml of another version": {
        "app.py": HANDLER,
        "spin.toml": MANIFEST.replace("version = 2", 'version = "1"'),
    },
    "a trigger for a component that is not there": {
        "app.py": HANDLER,
        "spin.toml": MANIFEST.replace('component = "hello-spin"', 'component = "other"'),
    },
    "a `source` outside the source": {"spin.toml": MANIFEST.replace('"app.wasm"', '"../../app.wasm"')},
    "`files` outside the source": {"spin.toml": MANIFEST + 'files = ["../*"]\n', "app.wasm": b""},
    "a `source` that is not there": {"spin.toml": MANIFEST, "src/lib.rs": ""},
    "no class IncomingHandler": {"app.py": "x = 1\n", "spin.toml": MANIFEST},
    "an IncomingHandler that is none": {"app.py": "class IncomingHandler:\n    pass\n", "spin.toml": MANIFEST},
    "handle_request with other parameters": {
        "app.py": HANDLER.replace("self, request: Request", "self"),
        "spin.toml": MANIFEST,
    },
    "code that is not UTF-8": {"app.py": b"# gr\xfc\xdfe\n" + HANDLER.encode(), "spin.toml": MANIFEST},
    "a core module as `source`": {"app.wasm": b"\0asm\x01\0\0\0", "spin.toml": MANIFEST},
    "a `source` that is no WebAssembly": {"app.wasm": b"#!/bin/sh\n", "spin.toml": MANIFEST},
    "a `source` that was cut off": {"app.wasm": component("wasi:io/poll@0.2.0")[:-5], "spin.toml": MANIFEST},
    "a component that imports what nobody offers": {
        "app.wasm": component("wasi:io/poll@0.2.0", "acme:rocket/launch@1.0.0"),
        "spin.toml": MANIFEST,
    },
}
"""By what docs/errors.md says of it."""


@pytest.mark.parametrize("what", BAD)
async def test_what_cannot_be_built_is_refused_in_a_sentence(client: Client, what: str) -> None:
    build, _ = await client.build("a.zip", zipped(BAD[what]))

    assert build.state == builds.BUILD_STATE_FAILED
    assert f"The build failed: {build.error}" == SAID[what]


async def test_a_component_without_valid_code_is_refused_by_the_host(client: Client) -> None:
    bad = {"app.wasm": component("wasi:io/poll@0.2.0"), "spin.toml": MANIFEST}
    build, _ = await client.build("a.zip", zipped(bad))

    assert build.state == builds.BUILD_STATE_FAILED
    assert build.stage == builds.STAGE_COMPILE
    assert build.error.startswith("app.wasm cannot be compiled: ")


async def test_functions_and_sources_that_do_not_fit_are_told_so(world: World, client: Client) -> None:
    world.registry.add("contained", target=function_pb2.TARGET_DOCKER)
    world.registry.add("spun", runtime=function_pb2.RUNTIME_SPIN)
    world.registry.add("served", runtime=function_pb2.RUNTIME_PYTHON, target=function_pb2.TARGET_SPIN)
    plain = b"def handler(event):\n    return 1\n"
    contained, _ = await client.build("app.py", HANDLER.encode(), "workspaces/default/functions/contained")
    spun, _ = await client.build("handler.py", plain, "workspaces/default/functions/spun")
    served, _ = await client.build("handler.py", plain, "workspaces/default/functions/served")

    assert f"The build failed: {contained.error}" == SAID["a component on another target"]
    assert (
        spun.error == "handler.py has no IncomingHandler: define `class IncomingHandler(http.IncomingHandler)` in it."
    )
    assert f"The build failed: {served.error}" == SAID["other code on the target spin"]


PROBE = """
import os, socket

def tried(what):
    try:
        return what()
    except Exception as error:
        return type(error).__name__

told = {
    "environ": sorted(os.environ),
    "passwd": tried(lambda: open("/etc/passwd").read()),
    "above": tried(lambda: open("../../../etc/passwd").read()),
    "sdk": tried(lambda: open("/1/spin_sdk/http/__init__.py", "a").write("x")),
    "net": tried(lambda: socket.create_connection(("127.0.0.1", 1))),
    "here": tried(lambda: open("/0/scribble", "w").write("x")),
}
raise RuntimeError(repr(told))
"""


async def test_what_the_top_level_of_the_code_does_stays_where_it_is(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FNMESH_SECRET_THING", "x")
    build, events = await client.build("probing.py", (HANDLER + PROBE).encode())
    raised = "The code at the top level of probing.py failed: probing.py:26: RuntimeError: "

    assert build.state == builds.BUILD_STATE_FAILED
    assert build.error.startswith(raised), build.error
    told = ast.literal_eval(build.error.removeprefix(raised))
    assert set(told.pop("environ")) <= {"PYTHONUNBUFFERED", "COMPONENTIZE_PY_APP_NAME", "PYTHONHOME", "PYTHONPATH"}
    assert told.pop("here") == 1
    assert all(
        one in ("FileNotFoundError", "PermissionError", "OSError", "gaierror", "AttributeError")
        for one in told.values()
    ), told
    assert any("Traceback" in line for line in lines(events))


async def test_the_same_source_gives_the_same_component(data_dir: Path, tmp_run_dir: Path, spin_home: Path) -> None:
    earlier = spin_toolchain.component(spin_home)
    async with borrowing(data_dir, tmp_run_dir, spin_home, cache=False) as (world, client):
        build, events = await client.build("hello.zip", zipped(spin_toolchain.hello()))
        made = (await contents(world, build))["app.wasm"]
    stages = [event.progress.stage for event in events if event.WhichOneof("event") == "progress"]

    assert list(dict.fromkeys(stages)) == [
        builds.STAGE_UNPACK,
        builds.STAGE_CHECK,
        builds.STAGE_COMPONENTIZE,
        builds.STAGE_VALIDATE,
        builds.STAGE_COMPILE,
        builds.STAGE_PUSH,
    ]
    assert hashlib.sha256(made).hexdigest() == hashlib.sha256(earlier).hexdigest()


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("code that wants 2 GB when it is imported", "held = [bytearray(2**28) for _ in range(8)]\n"),
        ("code that never ends when it is imported", "while True:\n    pass\n"),
    ],
)
async def test_code_that_takes_too_much_is_stopped(
    data_dir: Path, tmp_run_dir: Path, spin_home: Path, what: str, code: str
) -> None:
    limits = {"FNMESH_BUILD_SPIN_MEMORY_BYTES": str(2**30)}
    if code.startswith("while"):
        limits["FNMESH_BUILD_SPIN_TIMEOUT_S"] = "6"
    async with borrowing(data_dir, tmp_run_dir, spin_home, **limits) as (_, client):
        build, _ = await client.build("app.py", (HANDLER + code).encode())

    assert build.state == builds.BUILD_STATE_FAILED
    assert f"The build failed: {build.error}" == SAID[what]


async def test_pure_python_libraries_become_part_of_the_component(
    data_dir: Path, tmp_run_dir: Path, spin_home: Path
) -> None:
    asked = "spin-sdk==3.4.1\ncomponentize-py==0.17.2\nsix==1.16.0\n"
    code = "import six\n" + HANDLER + "assert six.PY3\n"
    source = {"app.py": code, "spin.toml": MANIFEST}
    nowhere = {"FNMESH_WORKLOAD_SPIN_HOST": str(data_dir / "wasmtime")}  # compiling it shows nothing more
    async with borrowing(data_dir, tmp_run_dir, spin_home, **nowhere) as (world, client):
        build, events = await client.build("a.zip", zipped(source | {"requirements.txt": asked}))
        native, _ = await client.build("a.zip", zipped(source | {"requirements.txt": "httptools\n"}))
        files = await contents(world, build)

    assert files["app.wasm"]
    assert any(line.startswith("Successfully installed six") for line in lines(events))
    assert f"The build failed: {native.error}" == SAID["a library that is not pure Python"]
