"""Readiness, concurrency, deadlines, disconnects and shutdown, in both servers."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from runtimes.catalog import Runtime

from .conftest import DEADLINE_S, Running, Start, UnixConnection, eventually


def _waiting(server: Running, **headers: str) -> tuple[dict[str, str], UnixConnection]:
    """A call that has reached the handler and waits for the file `gate`."""
    number = len(list(server.home.glob("started*")))
    names = {name: str(server.file(f"{name}{number}")) for name in ("started", "gate", "cancelled")}
    connection = server.begin(names, **headers)
    eventually(lambda: Path(names["started"]).exists())
    return names, connection


@pytest.mark.parametrize("handler", ["waits", "waits_sync"])
def test_calls_beyond_the_concurrency_are_refused_unstarted(start: Start, handler: str) -> None:
    # given both slots in use
    server = start(handler, concurrency=2)
    first, connection = _waiting(server)
    second, _ = _waiting(server)
    # when
    refused = server.invoke({"started": str(server.file("never")), "gate": "/", "cancelled": "/"})
    Path(first["gate"]).touch()
    answer = server.answer(connection)
    # then
    assert (refused.status, refused.header("x-fn-not-started")) == (503, "1")
    assert not server.file("never").exists()
    assert answer.json == "done"
    # and a slot is free again
    third, connection = _waiting(server)
    Path(third["gate"]).touch()
    assert server.answer(connection).json == "done"
    assert server.call(path="/.fnmesh/ready").status == 200
    Path(second["gate"]).touch()


def test_the_probe_is_answered_while_all_slots_are_in_use(start: Start) -> None:
    server = start("waits_sync", concurrency=1)
    _waiting(server)
    assert server.call(path="/.fnmesh/ready").body == b"ok"


@pytest.mark.parametrize("from_header", [True, False])
def test_at_its_deadline_a_handler_that_can_be_stopped_is(start: Start, from_header: bool) -> None:
    # given
    server = start("waits", concurrency=1, timeout_ms=30_000 if from_header else 150)
    headers = {"X_Fn_Timeout_Ms": "150" if from_header else "60000"}
    names, connection = _waiting(server, **headers)
    # when
    answer = server.answer(connection)
    # then
    assert (answer.status, answer.json["errorType"]) == (504, "Timeout")
    assert answer.header("x-fn-timeout") == "cancelled"
    assert Path(names["cancelled"]).exists()
    # and its slot is free: for a call that has as little time, and so finds its gate open
    server.file("gate1").touch()
    again, connection = _waiting(server)
    assert again["gate"] == str(server.file("gate1"))
    assert server.answer(connection).json == "done"


def test_a_handler_that_cannot_be_stopped_keeps_its_slot_until_it_ends(start: Start) -> None:
    # given
    server = start("waits_sync", concurrency=1)
    names, connection = _waiting(server, X_Fn_Timeout_Ms="100")
    # when
    answer = server.answer(connection)
    # then
    assert (answer.status, answer.header("x-fn-timeout")) == (504, "stuck")
    refused = server.invoke({})
    assert (refused.status, refused.header("x-fn-not-started")) == (503, "1")
    # and when it does end, the slot is free
    Path(names["gate"]).touch()
    eventually(lambda: server.invoke(names).status == 200)


def test_a_client_that_leaves_cancels_its_call(start: Start) -> None:
    server = start("waits", concurrency=1)
    names, connection = _waiting(server)
    connection.close()
    eventually(lambda: Path(names["cancelled"]).exists())
    eventually(lambda: server.call(path="/.fnmesh/ready").status == 200)


def test_sigterm_lets_running_calls_finish_and_refuses_new_ones(start: Start) -> None:
    # given
    server = start("waits")
    names, connection = _waiting(server)
    idle = server.connect()
    idle.request("GET", "/.fnmesh/ready")
    assert server.answer(idle).body == b"ok"
    # when
    server.process.terminate()
    eventually(lambda: not _connects(server))
    idle.request("GET", "/api/f")
    refused = server.answer(idle)
    Path(names["gate"]).touch()
    answer = server.answer(connection)
    # then
    assert (refused.status, refused.header("x-fn-not-started")) == (503, "1")
    assert refused.header("connection") == "close"
    assert (answer.status, answer.json) == (200, "done")
    assert server.process.wait(20) == 0


def _connects(server: Running) -> bool:
    try:
        server.raw()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    return True


def test_an_idle_server_stops_in_an_orderly_way(start: Start) -> None:
    server = start("hello")
    assert server.invoke({}).body == b"hello"
    assert server.stop() == 0


def test_a_call_that_does_not_finish_holds_the_shutdown_for_the_drain_time_only(start: Start) -> None:
    server = start("waits_sync", extra=("--drain-ms", "200"))
    _waiting(server)
    assert server.stop() == 1


def test_a_module_that_cannot_be_imported_says_why_and_ends(start: Start, runtime: Runtime, tmp_path: Path) -> None:
    # given
    (tmp_path / "bad.py").write_text("import no_such_module_here\n")
    (tmp_path / "bad.js").write_text("require('no-such-module-here');\n")
    # when
    file = "bad.py" if runtime == "python" else "bad.js"
    server = start(app=tmp_path, file=file, ready=False, extra=("--failure-linger-ms", "1000"))
    answer = eventually(server.probe)
    # then
    assert answer.status == 500
    assert "no" in answer.json["errorMessage"] and "such" in answer.json["errorMessage"]
    assert answer.json["errorType"] in ("ModuleNotFoundError", "Error")
    assert any("such" in frame["m"] for frame in server.frames("stderr"))
    assert server.process.wait(20) == 1


def test_a_module_without_a_handler_says_so(start: Start) -> None:
    server = start("no_such_name", ready=False)
    answer = eventually(server.probe)
    assert answer.json["errorType"] == "HandlerInvalid"
    assert "no_such_name" in answer.json["errorMessage"]
    assert server.stop() == 1


def test_unknown_options_end_the_process_with_a_clear_word(start: Start) -> None:
    server = start("hello", ready=False, extra=("--no-such-option", "1"))
    assert server.process.wait(20) != 0
    assert b"--no-such-option" in server.printed("stderr")


def test_an_instance_with_hardly_any_file_descriptors_ends(start: Start) -> None:
    # given a few that are free: whoever looks whether it lives is answered, with one that is free again afterwards
    server = start("keeps_files", concurrency=1)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (256, 256))
    # when
    assert server.invoke({"but": 3}).json == "EMFILE"
    # then
    assert server.process.wait(DEADLINE_S) == 0
    said = "No file descriptors are left for the server of this function: it ends and is replaced."
    assert server.printed("stderr").decode().count(said) == 1
