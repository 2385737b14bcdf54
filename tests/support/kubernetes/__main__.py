"""`python -m tests.support.kubernetes FILE`: a cluster to try things on, until it is interrupted.

FILE becomes a kubeconfig for it, with TLS, as kubectl sends no token without. `--bad-image IMAGE` is one that cannot
be pulled. kubectl must be told `--validate=false`: the cluster publishes no OpenAPI document.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path

from tests.support.kubernetes import FakeKubernetes, image_pull_back_off
from tests.support.registry_stub import own_certificate

_ENDING = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for a Kubernetes cluster.")
    parser.add_argument("kubeconfig", type=Path, help="the file to write; a context is added to one that is there")
    parser.add_argument("--context", default="fake")
    parser.add_argument("--spinkube", action="store_true", help="as if SpinKube was installed")
    parser.add_argument("--metrics", action="store_true", help="as if there was a metrics server")
    parser.add_argument("--bad-image", action="append", default=[], metavar="IMAGE")
    asked = parser.parse_args()
    # Before there is a second thread, which would take them otherwise.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    with (
        tempfile.TemporaryDirectory() as directory,
        FakeKubernetes(
            spinkube=asked.spinkube, metrics=asked.metrics, certificate=own_certificate(Path(directory))
        ) as cluster,
    ):
        for image in asked.bad_image:
            cluster.kubelet.behave(image_pull_back_off(image), image=image)
        cluster.kubeconfig(asked.kubeconfig, asked.context)
        print(f"{cluster.address} is context {asked.context} of {asked.kubeconfig}", flush=True)
        signal.sigwait(_ENDING)


if __name__ == "__main__":
    main()
