"""A mesh to be broken, one for each xdist worker, whose ledger goes on from test to test."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.chaos import length
from tests.chaos.ledger import Ledger
from tests.chaos.world import ENVIRON, World, opened
from tests.support.running_mesh import RunningMesh


@dataclass
class Patient:
    """A running mesh, and what its clients were told so far."""

    mesh: RunningMesh
    ledger: Ledger
    rng: random.Random


def pytest_report_header() -> str:
    form = length.chosen()
    return f"chaos: {'long' if form.is_long else 'short'} form, FNMESH_CHAOS_SEED={form.seed}"


@pytest.fixture(scope="session")
def chaos() -> length.Length:
    """The form of this run."""
    return length.chosen()


@pytest.fixture(scope="session")
def patient(chaos: length.Length) -> Iterator[Patient]:
    """A mesh on SQLite whose functions are processes."""
    mesh = RunningMesh(environ=ENVIRON)
    try:
        yield Patient(mesh.start(), Ledger(chaos.seed, echo=chaos.is_long), random.Random(chaos.seed))
        assert mesh.stop() == 0, mesh.errors()
        assert mesh.processes() == []
    finally:
        mesh.remove()


@pytest.fixture
async def world(patient: Patient) -> AsyncIterator[World]:
    """Clients of that mesh."""
    async with opened(patient.mesh, patient.ledger, patient.rng) as one:
        yield one
