"""A Prometheus of a test's own: Debian's, on a loopback port, scraping what the test says once a second."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.eventually import eventually_sync
from tests.support.ports import free_port

_CONFIG = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}}


def why_missing() -> str | None:
    """What this machine lacks, or None."""
    return None if shutil.which("prometheus") else "prometheus not found on PATH (Debian: apt-get install prometheus)"


class PrometheusServer:
    """Its address is known before it is started; `pause` has it answer nothing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, scraped: str) -> None:
        """Scrapes `host:port`/metrics from now on."""
        jobs = [{"job_name": "fnmesh", "static_configs": [{"targets": [scraped]}]}]
        config = self._directory / "prometheus.yml"
        config.write_text(json.dumps({**_CONFIG, "scrape_configs": jobs}))  # JSON is YAML too
        with (self._directory / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={self._directory / 'data'}",
                 f"--web.listen-address={self.address}", "--log.level=warn"],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        eventually_sync(self._ready, 30)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def query(self, query: str) -> list[dict[str, Any]]:
        """What it knows now."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, trust_env=False, timeout=10)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def pause(self) -> None:
        """It takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
