"""More than one invoke process: a second one joins, leaves and dies, and no request is lost by it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import MakeSource
from tests.support import processes
from tests.support.eventually import eventually_sync
from tests.support.raw_http import RawClient
from tests.support.running_mesh import ROOT, RunningMesh, orderly_mesh

SLOW = """
    import asyncio

    async def handler(event):
        await asyncio.sleep(0.05)
        return {"ok": True}
"""


@pytest.fixture(scope="module")
def growing() -> Iterator[RunningMesh]:
    """A mesh for this file alone: it counts processes."""
    with orderly_mesh() as running:
        yield running


class SecondInvoke:
    """`python -m invoke_svc` beside the mesh's own, with the same environment but for its address."""

    def __init__(self, mesh: RunningMesh) -> None:
        raw = Path(f"/proc/{mesh.service_pid('invoke')}/environ").read_bytes()
        environ = dict(word.split("=", 1) for word in os.fsdecode(raw).split("\0") if "=" in word)
        socket = f"{environ['FNMESH_RUN_DIR']}/m/invoke-2.sock"
        self.log = mesh.data_dir / "logs" / "invoke-2.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "invoke_svc"],
                env={**environ, "FNMESH_INVOKE_ADDRESS": f"unix:{socket}"},
                stdout=output, stderr=output, cwd=ROOT, start_new_session=True,
            )  # fmt: skip

    def has_joined(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        return "mesh_joined" in self.log.read_text()

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@contextmanager
def _second(mesh: RunningMesh) -> Iterator[SecondInvoke]:
    second = SecondInvoke(mesh)
    try:
        eventually_sync(second.has_joined, 30)
        yield second
    finally:
        second.close()


class Load:
    """Requests, one after another from each of several threads, and what came of them."""

    def __init__(self, url: str, workers: int = 8) -> None:
        self.seen: Counter[str] = Counter()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(url, number)) for number in range(workers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(40)

    def more(self, count: int, deadline_s: float = 20) -> None:
        """Returns once so many more have been answered 200."""
        wanted = self.seen["200"] + count
        eventually_sync(lambda: self.seen["200"] >= wanted, deadline_s)

    @property
    def failures(self) -> dict[str, int]:
        return {what: count for what, count in self.seen.items() if what != "200"}

    def _run(self, url: str, number: int) -> None:
        body = b"x" * (200_000 if number % 4 == 3 else 100)  # the stream lane too
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._ended.is_set():
                try:
                    answer = client.post(url, content=body)
                    good = answer.status_code == 200
                    self.seen["200" if good else f"{answer.status_code} {answer.json()['reason']}"] += 1
                except httpx.HTTPError as error:
                    self.seen[type(error).__name__] += 1


def _deploy(mesh: RunningMesh, make_source: MakeSource, name: str) -> str:
    source = str(make_source(name, **{"handler.py": SLOW}))
    return mesh.cli("deploy", source, "--target", "process", "--concurrency", "50").stdout.strip()


def _written(pid: int) -> int:
    """Bytes that a process has written, sockets too."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["wchar"])


def test_second_process_gets_requests_and_leaves_without_a_failure(
    growing: RunningMesh, make_source: MakeSource
) -> None:
    url = _deploy(growing, make_source, "shared")
    envoy, first = growing.service_pid("envoy"), growing.service_pid("invoke")

    with Load(url) as load, _second(growing) as second:
        before = _written(first), _written(second.process.pid)
        load.more(300)
        after = _written(first), _written(second.process.pid)
        grown = [new - old for old, new in zip(before, after, strict=True)]
        assert min(grown) > 20_000, grown  # both serve

        assert second.terminate() == 0, second.log.read_text()[-2000:]
        load.more(100)

    assert load.failures == {}
    assert growing.service_pid("envoy") == envoy
    runs = eventually_sync(
        lambda: (got := growing.cli_json("executions", "shared", "--limit", "500")["executions"])[300:] and got, 10,
        interval_s=0.3,
    )  # fmt: skip
    assert not [run for run in runs if run["statusCode"] != 200]


def test_redeploy_with_two_processes_fails_no_request(growing: RunningMesh, make_source: MakeSource) -> None:
    url = _deploy(growing, make_source, "rolling")
    with Load(url) as load, _second(growing) as second:
        load.more(50)
        source = str(make_source("rolling", **{"handler.py": SLOW + "    # 2\n"}))
        growing.cli("deploy", source, "--target", "process", "--concurrency", "50")
        load.more(50)
        assert second.terminate() == 0
    assert load.failures == {}


def test_first_process_is_killed_and_requests_go_on(growing: RunningMesh, make_source: MakeSource) -> None:
    url = _deploy(growing, make_source, "survives")
    first = growing.service_pid("invoke")
    with _second(growing) as second, Load(url) as load:
        load.more(50)

        os.kill(first, signal.SIGKILL)
        load.more(200)

        eventually_sync(lambda: _own_invoke(growing, first, second.process.pid), 20)
        failed = sum(load.failures.values())
        load.more(200)
        assert sum(load.failures.values()) == failed  # only what was under way in the killed one
        # Each worker had one request under way at most, and what a retry may repeat was repeated.
        assert failed <= 8, load.failures
    assert not processes.is_running(first)


COUNTED = """
    def handler(event):
        return {"statusCode": 200 if event["rawQueryString"] == "good" else 500}
"""


def test_counters_are_right_after_ten_thousand_requests_to_two_processes(
    growing: RunningMesh, make_source: MakeSource
) -> None:
    source = str(make_source("counted", **{"handler.py": COUNTED}))
    growing.cli("deploy", source, "--target", "process", "--concurrency", "50", "-w", "counters")
    first = growing.service_pid("invoke")
    with _second(growing) as second, httpx.Client(base_url=growing.url, trust_env=False, timeout=30) as http:
        before = _written(first), _written(second.process.pid)
        asyncio.run(_ask(growing.server, [b"bad" if number % 10 == 0 else b"good" for number in range(10_000)]))
        after = _written(first), _written(second.process.pid)
        assert min(new - old for old, new in zip(before, after, strict=True)) > 200_000  # both serve
        (workspace,) = [one for one in http.get("/api/workspaces").json() if one["name"] == "counters"]
        url = f"/api/workspaces/{workspace['id']}"

        def counted() -> bool:
            found, (function,) = http.get(url).json(), http.get(f"{url}/functions").json()
            assert (found["invocations24h"], found["errors24h"], found["errorRate"]) == (10_000, 1_000, 0.1)
            return bool((function["invocations24h"], function["errors24h"]) == (10_000, 1_000))

        assert eventually_sync(counted, 30, interval_s=0.2)
        assert second.terminate() == 0
        assert counted()  # nothing is counted twice when it leaves


async def _ask(server: str, queries: list[bytes]) -> None:
    """Sends all these requests over some connections, and reads the answers."""
    host, _, port = server.rpartition(":")
    left = iter(queries)

    async def work() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        client = RawClient(reader, writer)
        for query in left:
            client.send(b"GET /api/counted?%b HTTP/1.1\r\nhost: localhost\r\n\r\n" % query)
            answer = await client.answer(60)
            assert answer.startswith(b"HTTP/1.1 200 " if query == b"good" else b"HTTP/1.1 500 "), answer
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(24):
            tasks.create_task(work())


def _own_invoke(mesh: RunningMesh, *others: int) -> int:
    """An invoke process that is none of the others; 0 where there is none."""
    found = [pid for pid in mesh.processes() if "invoke_svc" in processes.command_line(pid) and pid not in others]
    return found[0] if found else 0
