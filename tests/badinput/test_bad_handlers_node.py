"""Node handlers that fail, end their process, never answer or want too much, as processes: one instance suffers."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support import processes
from tests.support.bad_function import BadFunction, deploy
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh
from tests.support.steady import steadily

pytestmark = pytest.mark.node

MIB = 1 << 20
NOT_JSON = "the handler's result is not JSON: "


@pytest.fixture(autouse=True)
def goes_on(mesh: RunningMesh, bystander: str, undisturbed: None) -> Iterator[None]:
    """Another function answers all the time, and from the same process."""
    with steadily(mesh.url, f"/api/{bystander}"):
        yield


@pytest.fixture(scope="module")
def small(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_node", "small-node", target="process", memory="128Mi", timeout="20s")


@pytest.fixture(scope="module")
def brief(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_node", "brief-node", target="process", memory="128Mi", timeout="500ms")


@pytest.fixture(scope="module")
def wide(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_node", "wide-node", target="process", memory="512Mi", timeout="60s")


FAILURES = {
    "raise": ("TypeError", "the secret of the cellar"),
    "throw_nothing": ("Error", "undefined"),
    "recurse": ("RangeError", "Maximum call stack size exceeded"),
    "exit": ("ProcessExit", "the handler called process.exit(3)"),
    "stray_error": ("Error", "thrown by nobody"),
    "stray_rejection": ("Error", "rejected by nobody"),
    "function": ("ResultInvalid", NOT_JSON + "it is a function"),
    "bigint": ("ResultInvalid", NOT_JSON + "Do not know how to serialize a BigInt"),
    "circular": ("ResultInvalid", NOT_JSON + "Converting circular structure to JSON"),
    "deep": ("ResultInvalid", NOT_JSON + "Maximum call stack size exceeded"),
}


def test_a_handler_that_fails_is_a_500_and_goes_on(small: BadFunction, client: Mesh) -> None:
    pid = small.pid()

    answers = {what: small.ask(what) for what in FAILURES}

    said = {what: (answer.json()["errorType"], answer.json()["errorMessage"]) for what, answer in answers.items()}
    assert said == FAILURES
    assert {answer.status_code for answer in answers.values()} == {500}
    assert small.pid() == pid
    for answer in answers.values():
        assert small.run(client, answer.json()["trace_id"]).error == "HANDLER_ERROR: The handler raised an error."
    trace = answers["raise"].json()["trace_id"]
    logged = eventually_sync(lambda: "\n".join(line.text for line in small.lines(client, trace_id=trace)), 10)
    assert "before it fails" in logged and "TypeError: the secret of the cellar" in logged


def test_what_json_has_no_word_for_is_null_as_everywhere_in_javascript(small: BadFunction) -> None:
    assert small.ask("nan").json() == {"x": None}


@pytest.mark.parametrize(
    ("what", "how", "message"),
    [
        ("really_exit", {"code": 3}, "It exited with code 3."),
        ("abort", {}, "It was killed by signal 6 (SIGABRT)."),
        ("signal", {"number": 11}, "It was killed by signal 11 (SIGSEGV)."),
    ],
)
def test_a_handler_that_ends_its_process_is_a_502_and_is_replaced(
    small: BadFunction, client: Mesh, what: str, how: dict[str, object], message: str
) -> None:
    pid = small.answers_again()

    answer = small.ask(what, **how)

    assert (answer.status_code, answer.json()["reason"]) == (502, "WORKLOAD_CLOSED")
    small.answers_again(other_than=pid)
    small.ended_with(client, message)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("never", "its handler did not stop at its time limit"),
        ("spin", "it did not answer within its time limit"),
        ("patched_http", "it did not answer within its time limit"),
    ],
)
def test_a_handler_that_never_answers_is_a_504_and_its_instance_is_replaced(
    brief: BadFunction, client: Mesh, what: str, message: str
) -> None:
    pid = brief.answers_again()

    answer = brief.ask(what)

    assert (answer.status_code, answer.json()["reason"]) == (504, "TIMEOUT")
    brief.answers_again(other_than=pid)
    brief.ended_with(client, message)
    assert processes.wait_ended(pid, 30)


def test_memory_beyond_the_limit_is_named_as_such(small: BadFunction, wide: BadFunction, client: Mesh) -> None:
    for function, what, mib, message in (
        (small, "eat_buffers", 160, "Out of memory: it used "),
        (wide, "eat", 600, "Out of memory: the JavaScript heap reached its limit."),
    ):
        pid = function.answers_again()

        answer = function.ask(what, mib=mib)

        assert (answer.status_code, answer.json()["reason"]) == (502, "WORKLOAD_CLOSED")
        function.answers_again(other_than=pid)
        function.ended_with(client, message)


@pytest.mark.root  # functions are users of their own, whose processes are counted
def test_child_processes_and_open_files_are_limited(wide: BadFunction, client: Mesh) -> None:
    pid = wide.answers_again()

    forked = wide.ask("fork", count=1000)
    opened = wide.ask("open", count=10_000)

    assert (forked.status_code, opened.status_code) == (200, 200), (forked.text, opened.text)
    assert 100 < forked.json()["made"] < 1000 and forked.json()["error"] == "EAGAIN"
    assert 1000 < opened.json()["made"] < 5000 and opened.json()["error"] == "EMFILE"
    left = processes.children(pid)
    assert len(left) > 100
    wide.answers_again(other_than=pid)
    said = "No file descriptors are left for the server of this function: it ends and is replaced."
    eventually_sync(lambda: any(said in line.text for line in wide.lines(client)), 10, interval_s=0.1)
    eventually_sync(lambda: not any(processes.is_running(one) for one in left), 10)


def test_an_answer_of_100_mb_streams_through(mesh: RunningMesh, wide: BadFunction) -> None:
    pid = wide.answers_again()
    before = processes.reset_peak(mesh.service_pid("invoke"))
    received = 0

    with httpx.stream("GET", f"{mesh.url}/api/{wide.name}?do=large&mib=100", timeout=60, trust_env=False) as answer:
        for block in answer.iter_bytes():
            received += len(block)

    assert (answer.status_code, received) == (200, 100 * MIB)
    assert wide.pid() == pid
    assert processes.peak_bytes(mesh.service_pid("invoke")) - before < 32 * MIB


def test_100_mb_of_output_are_bounded_everywhere(mesh: RunningMesh, wide: BadFunction, client: Mesh) -> None:
    wide.answers_again()
    before = processes.reset_peak(mesh.service_pid("deploy"))

    answers = [wide.ask("print", mib=60), wide.ask("print_once", mib=40)]

    assert [answer.text for answer in answers] == ['"printed"', '"printed"']
    wide.ask("raise")
    last = "TypeError: the secret of the cellar"
    eventually_sync(lambda: any(last in line.text for line in wide.lines(client, tail=20)), 60, interval_s=0.2)
    assert processes.peak_bytes(mesh.service_pid("deploy")) - before < 64 * MIB
    assert sum(path.stat().st_blocks * 512 for path in (mesh.data_dir / "logs").iterdir()) < 32 * MIB
