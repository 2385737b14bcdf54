"""A PostgreSQL server for measuring, which answers only once a commit is with the system; the tests' own, on a data
directory that ends with it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres import PostgresError, PostgresServer


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """The server; its `database()` makes databases. PostgresError where the machine has no PostgreSQL."""
    root = Path(tempfile.mkdtemp(prefix="fnm-bench-pg-", dir="/tmp"))
    root.chmod(0o711)
    server = PostgresServer(root / "postgres", durable=True)
    try:
        server.start()
        yield server
    finally:
        server.purge()
        shutil.rmtree(root, ignore_errors=True)


__all__ = ["PostgresError", "PostgresServer", "postgres_server"]
