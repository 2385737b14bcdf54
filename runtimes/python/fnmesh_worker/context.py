"""The second argument of a handler, after AWS Lambda's context object."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .options import Options


class Context:
    """Who is running, and how long it may. `deadline` is on the clock of `time.monotonic()`."""

    __slots__ = ("_deadline", "_options", "aws_request_id", "trace_id")

    def __init__(self, options: Options, request_id: str, trace_id: str, deadline: float) -> None:
        self._options = options
        self._deadline = deadline
        self.aws_request_id = request_id
        self.trace_id = trace_id

    @property
    def function_name(self) -> str:
        """The function's name."""
        return self._options.function

    @property
    def function_version(self) -> str:
        """The revision that answers."""
        return self._options.revision

    @property
    def memory_limit_in_mb(self) -> int:
        """The memory limit of the workload in MiB."""
        return self._options.memory_mb

    @property
    def invoked_function_arn(self) -> str:
        """A stable name where libraries for AWS want one; not an ARN that AWS would know."""
        return f"fnmesh:function:{self._options.function}:{self._options.revision}"

    @property
    def log_group_name(self) -> str:
        """Where the logs are, in AWS's words."""
        return f"/fnmesh/{self._options.function}"

    @property
    def log_stream_name(self) -> str:
        """Which part of the logs, in AWS's words."""
        return self._options.revision

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the platform stops waiting for this call; 0 when it has."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))
