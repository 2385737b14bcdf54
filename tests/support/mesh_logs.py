"""A hook for the conftest.py of tests with a `mesh`: what it has logged, where a test fails."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.support.running_mesh import RunningMesh


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what its mesh has logged."""
    report = yield
    used = getattr(item, "funcargs", {}).get("mesh")
    if report.failed and isinstance(used, RunningMesh):
        report.sections.append(("the ends of its mesh's logs", used.log_tails()))
    return report
