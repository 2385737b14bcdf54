"""The garbage of test_bad_calls.py that gets as far as the database, on PostgreSQL: it refuses more than SQLite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.badinput.test_bad_calls import (  # noqa: F401 -- tests and fixtures, run here again
    channel,
    test_each_field_spoiled,
    test_made_up_page_tokens,
    test_random_messages,
    test_wrong_names,
    world,
)
from tests.support.postgres import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("all_undisturbed")]


@pytest.fixture(scope="module")
def mesh_environ(postgres_server: PostgresServer) -> Iterator[Mapping[str, str]]:
    """This module's mesh has its tables in PostgreSQL."""
    with postgres_server.database() as url:
        yield {"FNMESH_DATABASE_URL": url}
