"""The fake cluster as a process of its own, to try things on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.support.kubernetes import samples
from tests.support.kubernetes.plain_client import PlainClient


def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    command = [sys.executable, "-m", "tests.support.kubernetes", str(kubeconfig), "--context", "mine", "--spinkube"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("https://127.0.0.1:")
            assert line.endswith(f" is context mine of {kubeconfig}\n")
            with PlainClient(kubeconfig, "mine") as client:
                assert client.apply(samples.spin_app())["kind"] == "SpinApp"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
