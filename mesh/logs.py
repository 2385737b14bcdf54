"""Logs as events: a constant name with fields, one JSON object a line, bound to the trace.

log = get_logger(__name__)
log.info("build_claimed", build=uid, attempt=2)
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import IO, Any

from mesh.telemetry import current_span_id, current_trace_id

_SECRET_WORDS = ("secret", "token", "password", "passwd", "authorization", "cookie", "credential")
_SECRET_NAME = re.compile("|".join([*_SECRET_WORDS, r"api_?key$", r"^env$"]), re.I)
_PARTS_OF_SECRET_NAMES = (*_SECRET_WORDS, "apikey", "api_key", "env", "ſ", "ı", "İ")  # the last three: s and i to `re`
_SECRET_VALUE = re.compile(r"(?<=://)[^/@\s:]+:[^/@\s]+(?=@)|fnm_[0-9A-Za-z]{8,}")
STRUCK = "****"


def is_secret_name(name: str) -> bool:
    """Whether what has this name is nothing to be shown."""
    return _SECRET_NAME.search(name) is not None


def may_hold_secret_name(text: str) -> bool:
    """Whether some part of a text may be a secret name; much cheaper than to look at every part."""
    small = text.lower()
    return any(part in small for part in _PARTS_OF_SECRET_NAMES)


def redact(name: str, value: object) -> object:
    """The value as it may be written: struck out where its name or its form says that it is secret."""
    if _SECRET_NAME.search(name):
        return STRUCK
    if isinstance(value, dict):
        return {str(key): redact(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(name, one) for one in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return _SECRET_VALUE.sub(STRUCK, text) if "fnm_" in text or "://" in text else text


class Logger:
    """Writes events of one module."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, error: BaseException, **fields: object) -> None:
        """An error with its traceback; once, where it is handled."""
        if self._logger.isEnabledFor(logging.ERROR):
            lines = "".join(traceback.format_exception(error))
            fields = {"error": f"{type(error).__name__}: {error}", "traceback": lines, **fields}
            self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fnmesh_fields": fields})


def get_logger(name: str) -> Logger:
    """The logger of a module: `get_logger(__name__)`."""
    return Logger(name)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, service, event, trace_id, span_id, fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": redact("event", record.getMessage()),
            "logger": record.name,
        }
        trace_id = current_trace_id()
        if trace_id:
            line["trace_id"], line["span_id"] = trace_id, current_span_id()
        for key, value in getattr(record, "fnmesh_fields", {}).items():
            line[key if key not in line else f"{key}_"] = redact(key, value)
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = redact("traceback", "".join(traceback.format_exception(record.exc_info[1])))
        return json.dumps(line, ensure_ascii=False, default=str)


def setup(service: str, level: str = "info", stream: IO[str] | None = None) -> None:
    """Sends all logs of this process to a stream (stderr) as JSON lines. Called once, by `mesh.main`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in (
        "alembic",
        "aiosqlite",
        "asyncio",
        "sqlalchemy",
        "urllib3",
        "docker",
        "httpx",
        "httpcore",
        "watchfiles",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    own_receiver = not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    # The mesh's own receiver comes and goes with the gateway: spans lost meanwhile are no event.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL if own_receiver else logging.ERROR)
