"""Python handlers that fail, end their process, never answer or want too much, as processes: one instance suffers."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import httpx
import pytest

from fnmesh.client import Mesh
from fnmesh.deploy.v1 import deployment_pb2
from tests.support import processes
from tests.support.bad_function import BadFunction, deploy
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh
from tests.support.steady import steadily

MIB = 1 << 20
NOT_JSON = "the handler's result is not JSON: "


@pytest.fixture(autouse=True)
def goes_on(mesh: RunningMesh, bystander: str, undisturbed: None) -> Iterator[None]:
    """Another function answers all the time, and from the same process."""
    with steadily(mesh.url, f"/api/{bystander}"):
        yield


@pytest.fixture(scope="module")
def small(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_python", "small", target="process", memory="64Mi", timeout="20s")


@pytest.fixture(scope="module")
def brief(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_python", "brief", target="process", memory="64Mi", timeout="500ms")


@pytest.fixture(scope="module")
def brief_async(mesh: RunningMesh) -> BadFunction:
    settings = {"memory": "64Mi", "timeout": "500ms", "handler": "async_handler"}
    return deploy(mesh, "bad_python", "brief-async", target="process", **settings)


@pytest.fixture(scope="module")
def wide(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_python", "wide", target="process", memory="512Mi", timeout="60s")


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("raise", "ValueError", "the secret of the cellar"),
        ("exit", "SystemExit", "leaving"),
        ("odd_text", "Odd", "(its text could not be made)"),
        ("recurse", "RecursionError", "maximum recursion depth exceeded"),
        ("set", "ResultInvalid", NOT_JSON + "Object of type set is not JSON serializable"),
        ("nan", "ResultInvalid", NOT_JSON + "Out of range float values are not JSON compliant"),
        ("circular", "ResultInvalid", NOT_JSON + "Circular reference detected"),
        ("deep", "ResultInvalid", NOT_JSON + "it is nested too deeply"),
        ("surrogate", "ResultInvalid", NOT_JSON + "'utf-8' codec can't encode character '\\ud800'"),
    ],
)
def test_a_handler_that_fails_is_a_500_and_goes_on(
    small: BadFunction, client: Mesh, what: str, kind: str, message: str
) -> None:
    pid = small.pid()

    answer = small.ask(what)

    assert answer.status_code == 500
    body = answer.json()
    assert (body["errorType"], body["trace_id"]) == (kind, answer.headers["x-trace-id"])
    assert body["errorMessage"].startswith(message)
    assert small.pid() == pid
    run = small.run(client, body["trace_id"])
    assert (run.status_code, run.failed, run.error) == (500, True, "HANDLER_ERROR: The handler raised an error.")


def test_the_traceback_is_in_the_log_and_not_in_the_answer(mesh: RunningMesh, small: BadFunction) -> None:
    answer = small.ask("raise")

    trace = answer.json()["trace_id"]
    eventually_sync(lambda: "ValueError: the secret" in mesh.cli("logs", small.name, "--trace", trace).stdout, 30)
    logged = mesh.cli("logs", small.name, "--trace", trace).stdout
    assert "before it fails" in logged and "in do_raise" in logged
    assert "fnmesh_worker" not in logged
    assert "Traceback" not in answer.text and "handler.py" not in answer.text


@pytest.mark.parametrize(
    ("what", "how", "message"),
    [
        ("os_exit", {"code": 3}, "It exited with code 3."),
        ("os_exit", {"code": 0}, "It exited with code 0."),
        ("overflow_stack", {}, "It was killed by signal 11 (SIGSEGV)."),
        ("null", {}, "It was killed by signal 11 (SIGSEGV)."),
        ("signal", {"number": int(signal.SIGABRT)}, "It was killed by signal 6 (SIGABRT)."),
        ("kill_group", {}, "It was killed by signal 9 (SIGKILL)."),
    ],
)
def test_a_handler_that_ends_its_process_is_a_502_and_is_replaced(
    small: BadFunction, client: Mesh, what: str, how: dict[str, object], message: str
) -> None:
    pid = small.answers_again()

    answer = small.ask(what, **how)

    assert answer.status_code == 502
    assert (answer.json()["code"], answer.json()["reason"]) == ("INTERNAL", "WORKLOAD_CLOSED")
    assert answer.json()["detail"] == "The function ended the connection before it answered."
    small.answers_again(other_than=pid)
    small.ended_with(client, message)
    assert small.run(client, answer.json()["trace_id"]).error.startswith("WORKLOAD_CLOSED: ")
    assert not processes.is_running(pid)


def test_show_and_executions_tell_of_the_end(mesh: RunningMesh, small: BadFunction, client: Mesh) -> None:
    pid = small.answers_again()
    small.ask("os_exit", code=42)
    small.answers_again(other_than=pid)
    small.ended_with(client, "It exited with code 42.")

    assert "failed" in mesh.cli("show", small.name).stdout
    assert "It exited with code 42." in mesh.cli("show", small.name).stdout
    eventually_sync(lambda: "WORKLOAD_CLOSED" in mesh.cli("executions", small.name).stdout, 10)


@pytest.mark.parametrize("what", ["sleep", "spin"])
def test_a_sync_handler_that_never_answers_is_a_504_and_its_instance_is_replaced(
    brief: BadFunction, client: Mesh, what: str
) -> None:
    pid = brief.answers_again()

    answer = brief.ask(what)

    _is_timeout(answer)
    assert brief.run(client, answer.json()["trace_id"]).error.startswith("TIMEOUT: ")
    brief.answers_again(other_than=pid)
    brief.ended_with(client, "its handler did not stop at its time limit")
    assert processes.wait_ended(pid, 30)


def test_an_async_handler_that_never_answers_is_cancelled(brief_async: BadFunction) -> None:
    pid = brief_async.pid()

    answer = brief_async.ask("never")

    _is_timeout(answer)
    assert brief_async.pid() == pid


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("refuse_to_end", "its handler did not stop at its time limit"),
        ("block_loop", "it did not answer within its time limit"),
    ],
)
def test_an_async_handler_that_cannot_be_cancelled_costs_its_instance(
    brief_async: BadFunction, client: Mesh, what: str, message: str
) -> None:
    pid = brief_async.answers_again()

    _is_timeout(brief_async.ask(what))

    brief_async.answers_again(other_than=pid)
    brief_async.ended_with(client, message)
    assert processes.wait_ended(pid, 30)


def test_no_request_goes_to_an_instance_that_has_fallen_silent(brief_async: BadFunction) -> None:
    pid = brief_async.answers_again()

    _is_timeout(brief_async.ask("block_loop"))
    after = brief_async.ask()

    assert after.status_code == 200, "the next request waits for the instance that replaces the silent one"
    assert after.json()["pid"] != pid


def _is_timeout(answer: httpx.Response) -> None:
    assert answer.status_code == 504
    assert (answer.json()["code"], answer.json()["reason"]) == ("DEADLINE_EXCEEDED", "TIMEOUT")
    assert answer.json()["detail"] == "The function did not answer within its time limit of 0.5 s."


def test_memory_beyond_the_limit_is_named_as_such(small: BadFunction, client: Mesh) -> None:
    pid = small.answers_again()

    answer = small.ask("eat", mib=120)

    assert answer.status_code == 502
    assert answer.json()["reason"] == "WORKLOAD_CLOSED"
    small.answers_again(other_than=pid)
    small.ended_with(client, "Out of memory: it used ")
    assert any("its limit is 64 MiB." in message for message in small.messages(client))


def test_memory_far_beyond_the_limit_is_not_to_be_had(small: BadFunction) -> None:
    pid = small.answers_again()

    answer = small.ask("eat_at_once", mib=1000)

    assert (answer.status_code, answer.json()["errorType"]) == (500, "MemoryError")
    assert small.pid() == pid


@pytest.mark.root  # functions are users of their own, whose processes are counted
def test_forked_children_are_limited_and_end_with_their_instance(mesh: RunningMesh, client: Mesh) -> None:
    # More than 500 children of Python write to nearly 1 MB each, so this one has to have the memory for them.
    crowd = deploy(mesh, "bad_python", "crowd", target="process", memory="2Gi", timeout="60s")
    pid = crowd.answers_again()
    home = crowd.instance(client).uid

    answer = crowd.ask("fork", count=1000)

    assert answer.status_code == 200, answer.text
    assert 100 < answer.json()["made"] < 1000
    assert answer.json()["error"] == "Resource temporarily unavailable"
    assert crowd.pid() == pid
    assert len(_naming(home)) > 100
    crowd.ask("os_exit")
    crowd.answers_again(other_than=pid)
    eventually_sync(lambda: not _naming(home), 10)


def test_threads_are_limited_and_the_function_goes_on(small: BadFunction) -> None:
    small.answers_again()

    answer = small.ask("threads", count=1000)

    assert answer.status_code == 200, answer.text
    assert 0 < answer.json()["made"] < 1000
    assert "can't start new thread" in answer.json()["error"]
    small.answers_again()
    small.ask("os_exit")


def test_open_files_are_limited_and_an_instance_without_any_is_replaced(small: BadFunction, client: Mesh) -> None:
    pid = small.answers_again()

    answer = small.ask("open", count=10_000)

    assert answer.status_code == 200, answer.text
    assert 1000 < answer.json()["made"] < 5000
    assert answer.json()["error"] == "Too many open files"
    small.answers_again(other_than=pid)
    said = "No file descriptors are left for the server of this function: it ends and is replaced."
    eventually_sync(lambda: any(said in line.text for line in small.lines(client)), 10, interval_s=0.1)


def test_an_answer_of_100_mb_streams_through(mesh: RunningMesh, wide: BadFunction) -> None:
    pid = wide.answers_again()
    before = {name: _peak_bytes(mesh, name) for name in ("invoke", "envoy")}
    received = 0

    with httpx.stream("GET", f"{mesh.url}/api/{wide.name}?do=large&mib=100", timeout=60, trust_env=False) as answer:
        assert (answer.status_code, answer.headers["content-length"]) == (200, str(100 * MIB))
        for block in answer.iter_bytes():
            received += len(block)

    assert received == 100 * MIB
    assert wide.pid() == pid, "100 MB are within the limit of 512 MiB, sent once"
    for name, bytes_before in before.items():
        assert processes.peak_bytes(mesh.service_pid(name)) - bytes_before < 32 * MIB, name


def test_100_mb_of_output_are_bounded_everywhere(mesh: RunningMesh, wide: BadFunction, client: Mesh) -> None:
    wide.answers_again()
    before = _peak_bytes(mesh, "deploy")

    answer = wide.ask("print", mib=100, line=8191)
    once = wide.ask("print_once", mib=40)

    assert (answer.status_code, once.status_code) == (200, 200), (answer.text, once.text)
    assert wide.answers_again()
    wide.ask("raise")
    last = "ValueError: the secret of the cellar"
    eventually_sync(lambda: any(last in line.text for line in wide.lines(client, tail=20)), 60, interval_s=0.2)
    assert processes.peak_bytes(mesh.service_pid("deploy")) - before < 64 * MIB
    logs = sum(path.stat().st_blocks * 512 for path in (mesh.data_dir / "logs").iterdir())
    assert logs < 32 * MIB
    eventually_sync(lambda: _database_bytes(mesh) < 96 * MIB, 30)


def test_the_lines_of_the_platform_tell_each_start_and_end(small: BadFunction, client: Mesh) -> None:
    lines = [line for line in small.lines(client) if line.stream == deployment_pb2.LOG_STREAM_SYSTEM]

    assert any(line.text.startswith("Started revision 1 (process ") for line in lines)


def _naming(instance: str) -> list[int]:
    """Processes that were started with the directory of an instance in their environment."""
    return [
        pid
        for pid in processes.all_pids()
        if processes.is_running(pid) and f"/i/{instance}" in processes.environment(pid).get("HOME", "")
    ]


def _peak_bytes(mesh: RunningMesh, name: str) -> int:
    """The memory that a service uses, from where its peak counts from now on."""
    return processes.reset_peak(mesh.service_pid(name))


def _database_bytes(mesh: RunningMesh) -> int:
    return sum(path.stat().st_size for path in (mesh.data_dir / "db").glob("deploy.db*"))
