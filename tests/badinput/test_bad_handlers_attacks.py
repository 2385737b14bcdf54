"""Handlers that attack what runs them: their server, their neighbours, the mesh's files, sockets, logs and disk."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping

import pytest

from fnmesh.client import Mesh
from tests.support import processes
from tests.support.bad_function import CRASHING, BadFunction, deploy
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh
from tests.support.steady import steadily

MIB = 1 << 20


@pytest.fixture(scope="module")
def mesh_environ() -> Mapping[str, str]:
    """Nobody waits long for the next start; little room on disk."""
    return {**CRASHING, "FNMESH_DEPLOY_SCRATCH_BYTES": str(16 * MIB)}


@pytest.fixture(autouse=True)
def goes_on(mesh: RunningMesh, bystander: str, undisturbed: None) -> Iterator[None]:
    """Another function answers all the time, and from the same process."""
    with steadily(mesh.url, f"/api/{bystander}"):
        yield


@pytest.fixture(scope="module")
def bad(mesh: RunningMesh) -> BadFunction:
    return deploy(mesh, "bad_python", "bad", target="process", memory="64Mi", timeout="2s", concurrency=4)


@pytest.fixture(scope="module")
def patient(mesh: RunningMesh) -> BadFunction:
    """For what is slow where the disk is."""
    return deploy(mesh, "bad_python", "patient", target="process", memory="64Mi", timeout="1m")


def test_a_function_that_closes_all_its_files_is_replaced(bad: BadFunction) -> None:
    pid = bad.answers_again()

    answer = bad.ask("close_all")

    assert answer.status_code in (502, 504)
    assert answer.json()["reason"] in ("WORKLOAD_CLOSED", "TIMEOUT")
    bad.answers_again(other_than=pid)


def test_a_function_without_output_still_answers(bad: BadFunction) -> None:
    pid = bad.answers_again()

    assert bad.ask("close_output").json() == "closed"

    assert bad.pid() == pid
    bad.ask("os_exit")


MALFORMED = [
    "garbage",
    "HTTP/1.1 200 OK\\r\\ncontent-length: -5\\r\\n\\r\\nhello",
    "HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\ncontent-length: 6\\r\\n\\r\\nhello!",
    "HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n5\\r\\nhello\\r\\n0\\r\\n\\r\\n",
    "HTTP/1.1 101 Switching Protocols\\r\\nupgrade: x\\r\\nconnection: upgrade\\r\\n\\r\\n",
    "HTTP/1.1 999 Odd\\r\\ncontent-length: 0\\r\\n\\r\\n",
    "HTTP/2.0 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n",
    "HTTP/1.1 200 OK\\r\\nx-a: 1\\r\\n folded\\r\\ncontent-length: 0\\r\\n\\r\\n",
    "HTTP/1.1 200 OK\\r\\nx-a: \\x00\\r\\ncontent-length: 0\\r\\n\\r\\n",
    "HTTP/1.1 200 OK\\r\\n:status: 500\\r\\ncontent-length: 0\\r\\n\\r\\n",
]


def test_garbage_on_its_connections_is_a_502(bad: BadFunction) -> None:
    for text in MALFORMED:
        bad.answers_again()
        answer = bad.ask("garbage_on_sockets", text=text)
        assert (answer.status_code, answer.json()["reason"]) == (502, "ANSWER_MALFORMED"), text
        assert answer.json()["detail"].startswith("The function did not answer in HTTP/1.1: "), text
    assert bad.answers_again()


def test_trailers_and_headers_of_the_mesh_do_not_reach_the_caller(bad: BadFunction) -> None:
    bad.answers_again()
    head = "HTTP/1.1 200 OK\\r\\ntransfer-encoding: chunked\\r\\nx-fn-h: x-forged=1\\r\\nx-fn-status: 500\\r\\n"
    chunks = "5\\r\\nhello\\r\\n0\\r\\nx-fn-status: 500\\r\\nx-trailer: a\\r\\n\\r\\n"

    answer = bad.ask("garbage_on_sockets", text=f"{head}x-envoy-x: 1\\r\\nx-trace-id: forged\\r\\n\\r\\n{chunks}")

    assert (answer.status_code, answer.text) == (200, "hello")
    assert not [name for name in answer.headers if name.startswith(("x-fn-", "x-envoy-", "x-forged", "x-trailer"))]
    assert len(answer.headers["x-trace-id"]) == 32
    bad.ask("os_exit")


def test_a_server_that_claims_never_to_begin_ends_at_the_time_limit(bad: BadFunction) -> None:
    bad.answers_again()

    answer = bad.ask("claim_not_started")

    assert (answer.status_code, answer.json()["reason"]) == (504, "TIMEOUT")
    bad.ask("os_exit")


@pytest.mark.parametrize("name", ["x-fn-not-started", "x-fn-timeout", "x-fn-status", "x-fn-h", "content-length", "te"])
def test_headers_that_are_the_mesh_s_own_are_left_out(bad: BadFunction, name: str) -> None:
    pid = bad.answers_again()

    answer = bad.ask("header", name=name, value="1")

    assert (answer.status_code, answer.text) == (200, "ok")
    assert name not in answer.headers or name == "content-length"
    assert answer.headers["content-length"] == "2"
    assert bad.pid() == pid


@pytest.mark.parametrize(
    "how",
    [
        {"count": 300},
        {"count": 100_000},
        {"count": 1, "size": 100_000},
        {"count": 60, "size": 2000},
        {"count": 1, "size": 60_000, "text": "%"},
    ],
)
def test_a_head_that_is_too_large_is_a_502(patient: BadFunction, how: dict[str, object]) -> None:
    pid = patient.answers_again()

    answer = patient.ask("headers", **how)

    assert (answer.status_code, answer.json()["reason"]) == (502, "ANSWER_MALFORMED")
    assert answer.json()["detail"].endswith("too large headers.")
    assert patient.pid() == pid


def test_forged_frames_are_lines_like_others(bad: BadFunction, client: Mesh) -> None:
    bad.answers_again()
    began = time.time()

    trace = bad.ask("forge_frames").headers["x-trace-id"]
    assert bad.ask("raise").status_code == 500

    def texts() -> str:
        return "\n".join(line.text for line in bad.lines(client))

    eventually_sync(lambda: "ValueError" in texts() or "from the future" in texts(), 15, interval_s=0.1)
    for line in bad.lines(client):
        if line.text.startswith("from the "):
            assert began - 5 < line.write_time.ToSeconds() < time.time() + 5, "a forged time would outlive the others"
            assert line.stream == 1 and line.instance == bad.instance(client).uid
            assert line.trace_id in ("", "f" * 32, trace)
    assert bad.answers_again()


def test_a_log_of_nothing_but_line_ends_or_holes_harms_nobody(
    mesh: RunningMesh, patient: BadFunction, client: Mesh
) -> None:
    patient.answers_again()
    before = processes.reset_peak(mesh.service_pid("deploy"))

    assert patient.ask("write_raw", mib=4, text="\\n").status_code == 200
    assert patient.ask("sparse_log").status_code == 500, "no file may be that large"
    assert patient.ask("write_raw", mib=100).status_code == 200
    patient.ask("raise")

    last = "ValueError: the secret of the cellar"
    eventually_sync(lambda: any(last in line.text for line in patient.lines(client, tail=20)), 60, interval_s=0.2)
    assert processes.peak_bytes(mesh.service_pid("deploy")) - before < 64 * MIB
    with sqlite3.connect(f"file:{mesh.data_dir}/db/deploy.db?mode=ro", uri=True) as tables:
        eventually_sync(lambda: _count(tables) <= 40_000, 30)


def _count(tables: sqlite3.Connection) -> int:
    return int(tables.execute("select count(*) from log_lines").fetchone()[0])


@pytest.mark.root
def test_the_mesh_s_files_sockets_and_processes_are_closed_to_it(mesh: RunningMesh, bad: BadFunction) -> None:
    pid = bad.answers_again()
    run_dir = mesh.run_dir
    closed = [
        *(str(path) for path in (run_dir / "m").iterdir()),
        *(str(run_dir / name) for name in ("token", "m", "i")),
        *(str(mesh.data_dir / name) for name in ("secrets.key", "db", "db/registry.db", "logs", "instances", "blobs")),
        *(str(path) for path in (run_dir / "i").iterdir() if path.stat().st_uid != os.stat(f"/proc/{pid}").st_uid),
    ]

    seen = bad.ask("look", paths=json.dumps(closed)).json()
    traced = {name: bad.ask("trace", pid=mesh.service_pid(name)).json() for name in ("deploy", "registry", "envoy")}

    assert set(seen.values()) == {"Permission denied"}, seen
    for name, found in traced.items():
        assert found.pop("attached") is False, name
        assert set(found.values()) == {"Permission denied"}, (name, found)
    assert bad.ask("kill_parent").json() == "refused: Operation not permitted"
    rights = bad.ask("become_root").json()
    assert "done" not in rights.values(), rights


@pytest.mark.root
def test_its_socket_in_the_place_of_another_reaches_nobody(
    mesh: RunningMesh, bad: BadFunction, client: Mesh, bystander: str
) -> None:
    other = BadFunction(bystander, mesh)
    pid = bad.answers_again()

    bad.ask("own_socket", target=str(mesh.run_dir / "i" / other.instance(client).uid / "s"))

    # Connections that are open may still be used; all new ones would go to the other.
    assert bad.answers_again(other_than=pid) != other.pid(), "an instance that nobody reaches is replaced"


def test_a_stopped_process_is_replaced(bad: BadFunction, client: Mesh) -> None:
    pid = bad.answers_again()

    answer = bad.ask("signal", number=19)

    assert (answer.status_code, answer.json()["reason"]) == (504, "TIMEOUT")
    bad.answers_again(other_than=pid)
    bad.ended_with(client, "it did not answer within its time limit")
    assert processes.wait_ended(pid, 20)


@pytest.mark.root  # else it reaches every process of whoever runs the tests
def test_killing_all_it_can_reaches_nobody_else(bad: BadFunction) -> None:
    bad.answers_again()

    assert bad.ask("kill_all").status_code == 200

    assert bad.answers_again()


@pytest.mark.root
@pytest.mark.parametrize("what", ["daemon", "fork_chain"])
def test_no_daemon_outlives_its_instance(bad: BadFunction, what: str) -> None:
    pid = bad.answers_again()
    user = os.stat(f"/proc/{pid}").st_uid
    assert bad.ask(what, marker="a-daemon").status_code == 200
    eventually_sync(lambda: len(_of_user(user)) > 1, 10)

    bad.ask("os_exit")
    other = bad.answers_again(other_than=pid)

    # One look may miss a process that lives no longer than the look.
    eventually_sync(lambda: all(_of_user(user) == [other] for _ in range(100)), 60)


def test_memory_of_a_daemon_counts(bad: BadFunction, client: Mesh) -> None:
    pid = bad.answers_again()

    assert bad.ask("eat_in_daemon", mib=100).json() == "left"

    bad.answers_again(other_than=pid)
    bad.ended_with(client, "Out of memory: it used ")


def test_a_full_tmp_is_named_as_such_and_emptied(mesh: RunningMesh, patient: BadFunction, client: Mesh) -> None:
    pid = patient.answers_again()
    home = mesh.run_dir / "i" / patient.instance(client).uid

    too_large = patient.ask("fill", mib=200)

    assert (too_large.status_code, too_large.json()["errorMessage"]) == (500, "[Errno 27] File too large")
    patient.answers_again(other_than=pid)
    patient.ended_with(client, "Out of disk: its files in HOME and TMPDIR are more than 16 MiB")
    eventually_sync(lambda: not home.exists(), 10)


def test_directories_deeper_than_any_path_are_removed(mesh: RunningMesh, patient: BadFunction, client: Mesh) -> None:
    pid = patient.answers_again()
    home = mesh.run_dir / "i" / patient.instance(client).uid
    answer = patient.ask("nest", depth=1500)
    assert answer.json() == {"made": 1500, "error": ""}

    patient.ask("os_exit")

    patient.answers_again(other_than=pid)
    eventually_sync(lambda: not home.exists(), 20)


def _of_user(user: int) -> list[int]:
    found = []
    for pid in processes.all_pids():
        try:
            own = os.stat(f"/proc/{pid}").st_uid == user
        except OSError:
            continue
        if own and processes.is_running(pid):
            found.append(pid)
    return found
