"""A fake Kubernetes cluster and PyPI's client for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes import FakeKubernetes
from tests.support.kubernetes.plain_client import PlainClient


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    """One with SpinKube and a metrics server."""
    with FakeKubernetes(spinkube=True, metrics=True) as fake:
        yield fake


@pytest.fixture
def admin(cluster: FakeKubernetes, tmp_path: Path) -> Iterator[PlainClient]:
    """Who may do everything there."""
    with PlainClient(cluster.kubeconfig(tmp_path / "kubeconfig")) as client:
        yield client
