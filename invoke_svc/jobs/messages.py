"""Jobs as messages of the API, and what requests ask for, checked."""

from __future__ import annotations

import json
from typing import NoReturn

from google.protobuf.duration_pb2 import Duration

from fnmesh.invoke.v1 import job_pb2
from invoke_svc.jobs.domain import Job, JobState, Kind, Language, ScriptTarget
from invoke_svc.jobs.lines import Line
from mesh.errors import InvalidArgument, ResourceExhausted

CODE_BYTES = 1 << 20
SCRIPT_TIMEOUT_S = 300.0
LONGEST_S = 86_400.0
MEMORY_BYTES = 256 << 20
_MEMORY = (16 << 20, 64 << 30)
_ATTEMPTS = 100


class EventTooLarge(ResourceExhausted):
    """An event is over the limit."""

    http = 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__("EVENT_TOO_LARGE", f"The event of a job has at most {limit_bytes} bytes.")


def to_message(job: Job, *, code: bytes = b"") -> job_pb2.Job:
    """The job as the API has it."""
    message = job_pb2.Job(
        name=job.name,
        uid=job.uid,
        workspace_display_name=job.workspace_name,
        event=job.event,
        max_attempts=job.max_attempts,
        state=job_pb2.JobState.ValueType(job.state),
        attempt=job.attempt,
        exit_code=job.exit_code,
        error=job.error,
        result=job.result,
        status_code=job.status_code,
        log_key=job.log_key,
        code_key=job.code_key or "",
        trace_id=job.trace_id,
        cancelling=job.cancel and not job.state.ended,
        execution=job.execution,
        schedule=f"workspaces/{job.workspace_uid}/schedules/{job.schedule_uid}" if job.schedule_uid else "",
    )
    if job.kind is Kind.FUNCTION:
        message.function = job.function_name
        message.function_display_name = job.function_display_name
    else:
        message.script.language = job_pb2.Language.ValueType(job.language)
        message.script.target = job_pb2.ScriptTarget.ValueType(job.target)
        message.script.memory_bytes = job.memory_bytes
        message.script.code = code
    if job.timeout_s:
        message.timeout.FromMicroseconds(int(job.timeout_s * 1e6))
    waits = job.state is JobState.QUEUED and (job.attempt > 0 or job.postponed > 0)
    for field, seconds in (
        (message.create_time, job.created),
        (message.update_time, job.updated),
        (message.start_time, job.started),
        (message.end_time, job.ended),
        (message.retry_time, job.due if waits else 0.0),
    ):
        if seconds:
            field.FromMicroseconds(int(seconds * 1e6))
    return message


def to_line(line: Line) -> job_pb2.JobLogLine:
    """A line of a log."""
    message = job_pb2.JobLogLine(stream=job_pb2.JobLogStream.ValueType(line.stream), text=line.text)
    if line.written:
        message.write_time.FromMicroseconds(int(line.written * 1e6))
    return message


def event(given: bytes, limit_bytes: int) -> bytes:
    """An event, which is JSON. Raises InvalidArgument (EVENT_INVALID), EventTooLarge."""
    if len(given) > limit_bytes:
        raise EventTooLarge(limit_bytes)
    try:
        json.loads(given or b"{}")
    except (ValueError, RecursionError):
        refuse("EVENT_INVALID", "job.event", "The event must be JSON.")
    return given or b"{}"


def timeout_s(given: Duration, field: str = "job.timeout") -> float:
    """A time limit in seconds. Raises InvalidArgument (TIMEOUT_INVALID)."""
    seconds: float = given.seconds + given.nanos / 1e9
    if not 0 < seconds <= LONGEST_S:
        refuse("TIMEOUT_INVALID", field, "timeout must be longer than zero and at most 24 hours.")
    return seconds


def attempts(given: int, default: int) -> int:
    """How often a job is tried. Raises InvalidArgument (ATTEMPTS_INVALID)."""
    if not 0 <= given <= _ATTEMPTS:
        refuse("ATTEMPTS_INVALID", "job.max_attempts", f"max_attempts must be 1 to {_ATTEMPTS}.")
    return given or default


def request_id(given: str) -> str | None:
    """A request id, None for none. Raises InvalidArgument (REQUEST_ID_INVALID)."""
    if len(given) > 64 or not given.isascii() or (given and not given.isprintable()):
        refuse("REQUEST_ID_INVALID", "request_id", "request_id has at most 64 printable ASCII characters.")
    return given or None


def script(given: job_pb2.Script) -> tuple[bytes, Language, ScriptTarget, int]:
    """Code, language, target and memory of a script. Raises InvalidArgument."""
    if not 0 < len(given.code) <= CODE_BYTES:
        refuse("CODE_INVALID", "job.script.code", "The code of a script has 1 byte to 1 MiB.")
    try:
        given.code.decode()
    except UnicodeDecodeError:
        refuse("CODE_INVALID", "job.script.code", "The code of a script must be UTF-8 text.")
    if int(given.language) not in (1, 2):
        refuse("LANGUAGE_INVALID", "job.script.language", "language must be LANGUAGE_PYTHON or LANGUAGE_NODE.")
    if int(given.target) not in (0, 1, 2):
        refuse("TARGET_INVALID", "job.script.target", "target must be one of the enum's values.")
    memory = given.memory_bytes or MEMORY_BYTES
    if not _MEMORY[0] <= memory <= _MEMORY[1]:
        refuse("MEMORY_INVALID", "job.script.memory_bytes", "memory_bytes must be 16 MiB to 64 GiB.")
    return given.code, Language(given.language), ScriptTarget(given.target), memory


def refuse(reason: str, field: str, message: str) -> NoReturn:
    """Raises InvalidArgument for a field."""
    raise InvalidArgument(reason, message, fields={field: message})
