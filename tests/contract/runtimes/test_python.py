"""What only the Python server does: threads, isolation from the user's packages, logging."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import DEADLINE_S, FUNCTIONS, Start, eventually
from .test_streams import _stalled

pytestmark = pytest.mark.parametrize("runtime", ["python"])


def test_nan_is_not_json(start: Start) -> None:
    answer = start("nan").invoke({})
    assert (answer.status, answer.json["errorType"]) == (500, "ResultInvalid")


def test_a_second_parameter_with_a_default_gets_the_context(start: Start) -> None:
    assert start("two_arguments_with_default").invoke({}).json == "my-function"


def test_context_variables_do_not_leak_into_the_next_call(start: Start) -> None:
    server = start("leaks", concurrency=1)
    assert [server.invoke({}).json for _ in range(3)] == ["clean"] * 3


def test_a_synchronous_handler_may_drive_the_loop_of_its_thread(start: Start) -> None:
    # as Mangum does
    server = start("drives_a_loop", concurrency=20)
    connections = [server.begin(n) for n in range(20)]
    assert [server.answer(connection).json for connection in connections] == list(range(20))


def test_a_forked_child_prints_too(start: Start) -> None:
    server = start("prints_in_a_fork")
    server.invoke({})
    assert [frame["m"] for frame in server.frames()] == ["from the child", "from the parent"]


def test_logging_prints_info_unless_configured(start: Start) -> None:
    server = start("logs")
    server.invoke({})
    assert [frame["m"] for frame in server.frames("stderr")] == ["INFO:mine:an info"]


def test_logging_configured_by_the_function_wins(start: Start, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(
        "import logging\nlogging.basicConfig(level=logging.ERROR, format='mine %(message)s')\n"
        "def handler(event):\n    logging.error('bad')\n    logging.info('fine')\n"
    )
    server = start(app=tmp_path, file="handler.py")
    server.invoke({})
    assert [frame["m"] for frame in server.frames("stderr")] == ["mine bad"]


def test_nothing_of_the_server_is_seen_by_the_function(start: Start) -> None:
    seen = start("environment").invoke({}).json
    assert seen["modules"] == []
    assert seen["path"][0] == str(FUNCTIONS)
    assert not [entry for entry in seen["path"] if "site-packages" in entry or "fnmesh" in entry]


def test_the_function_may_bring_its_own_httptools(start: Start, tmp_path: Path) -> None:
    # given a function with packages, one of them another httptools
    app, packages = tmp_path / "app", tmp_path / "packages"
    (packages / "httptools").mkdir(parents=True)
    (packages / "httptools" / "__init__.py").write_text("MINE = True\n")
    (packages / "hooked.pth").write_text(str(tmp_path / "linked") + "\n")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "linked_module.py").write_text("VALUE = 7\n")
    app.mkdir()
    (app / "handler.py").write_text(
        "import httptools, linked_module\ndef handler(event):\n    return [httptools.MINE, linked_module.VALUE]\n"
    )
    # then its own is what it gets, and .pth files work
    assert start(app=app, file="handler.py", packages=packages).invoke({}).json == [True, 7]


def test_the_real_httptools_can_be_used_beside_the_servers(start: Start, tmp_path: Path) -> None:
    import httptools

    app, packages = tmp_path / "app", tmp_path / "packages"
    shutil.copytree(Path(httptools.__file__).parent, packages / "httptools")
    app.mkdir()
    (app / "handler.py").write_text(
        "import httptools\ndef handler(event):\n    return httptools.parse_url(b'/a?b').path.decode()\n"
    )
    server = start(app=app, file="handler.py", packages=packages)
    assert [server.invoke({}).json for _ in range(2)] == ["/a", "/a"]


@pytest.mark.parametrize("name", ["json.py", "two-words.py", "main.py", "pkg/entry.py", "logs.py"])
def test_a_handlers_file_may_have_any_name(start: Start, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    (tmp_path / "sibling.py").write_text("VALUE = 1\n")
    file.write_text("import sibling\ndef handler(event):\n    return sibling.VALUE\n")
    assert start(app=tmp_path, file=name).invoke({}).json == 1


def test_a_callable_object_and_a_nested_name_are_handlers(start: Start, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(
        "class Api:\n    async def __call__(self, event, context):\n        return context.function_name\n"
        "class routes:\n    api = Api()\n"
    )
    server = start("routes.api", app=tmp_path, file="handler.py")
    assert server.invoke({}).json == "my-function"


def test_a_handler_without_parameters_is_refused_when_it_is_loaded(start: Start, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text("def handler():\n    return 1\n")
    server = start(app=tmp_path, file="handler.py", ready=False)
    answer = eventually(server.probe)
    assert (answer.status, answer.json["errorType"]) == (500, "HandlerInvalid")


def test_an_import_that_exits_is_a_failure_to_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text("raise SystemExit(4)\n")
    server = start(app=tmp_path, file="handler.py", ready=False)
    assert eventually(server.probe).json["errorType"] == "SystemExit"


def test_a_slow_reader_holds_a_synchronous_generator_back(start: Start) -> None:
    server = start("big_stream_sync")
    progress = server.file("progress")
    connection = server.begin({"chunks": 1024, "progress": str(progress)})
    assert _stalled(progress) < 100
    assert len(server.answer(connection).body) == 1024 * 65536


def test_a_synchronous_generator_ends_when_its_client_leaves(start: Start) -> None:
    # given its only slot in use by a generator whose client does not read
    server = start("big_stream_sync", concurrency=1)
    progress = server.file("progress")
    connection = server.begin({"chunks": 10**9, "progress": str(progress)})
    _stalled(progress)
    # when
    connection.close()
    # then the slot is free again
    again = {"chunks": 1, "progress": str(progress)}
    eventually(lambda: server.invoke(again).status == 200)


def test_a_stream_is_cut_at_its_deadline(start: Start) -> None:
    server = start("big_stream_sync", concurrency=1)
    progress = server.file("progress")
    connection = server.begin({"chunks": 10**9, "progress": str(progress)}, X_Fn_Timeout_Ms="300")
    response = connection.getresponse()
    response.fp.raw._sock.settimeout(DEADLINE_S)  # type: ignore[attr-defined]
    _stalled(progress)
    eventually(lambda: server.invoke({"chunks": 1, "progress": str(progress)}).status == 200)
