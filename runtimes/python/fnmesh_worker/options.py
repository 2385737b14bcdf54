"""The command line of the server. Never the environment: that belongs to the user's code."""

from __future__ import annotations

_TEXT = {
    "--listen": "listen",
    "--app": "app",
    "--file": "file",
    "--handler": "handler",
    "--event-format": "event_format",
    "--function": "function",
    "--revision": "revision",
    "--lib": "lib",
    "--packages": "packages",
}
_NUMBER = {
    "--concurrency": "concurrency",
    "--timeout-ms": "timeout_ms",
    "--memory-mb": "memory_mb",
    "--max-body-bytes": "max_body_bytes",
    "--drain-ms": "drain_ms",
    "--failure-linger-ms": "failure_linger_ms",
}


class UsageError(Exception):
    """The command line is wrong; the text says what to change."""


class Options:
    """What the server was told, with the defaults of the platform.

    `listen` is `unix:/path` or `tcp:host:port`; `event_format` is `v2` or `body`; times are in milliseconds.
    """

    listen = ""
    app = ""
    file = ""
    handler = "handler"
    event_format = "v2"
    function = ""
    revision = ""
    lib = ""
    packages = ""
    concurrency = 10
    timeout_ms = 30_000
    memory_mb = 256
    max_body_bytes = 1024 * 1024 * 1024
    drain_ms = 30_000
    failure_linger_ms = 30_000


def parse(argv: list[str]) -> Options:
    """The options in `argv` (`--name value` or `--name=value`); UsageError if they make no sense."""
    options = Options()
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            value = next(words, "")
        if name in _TEXT:
            setattr(options, _TEXT[name], value)
        elif name in _NUMBER:
            if not value.isdecimal():
                raise UsageError(f"{name} wants a whole number, not {value!r}")
            setattr(options, _NUMBER[name], int(value))
        else:
            raise UsageError(f"unknown option {name}")
    if not (options.listen and options.app and options.file):
        raise UsageError("--listen, --app and --file are required")
    if not options.listen.startswith(("unix:", "tcp:")):
        raise UsageError(f"--listen wants unix:/path or tcp:host:port, not {options.listen!r}")
    if options.event_format not in ("v2", "body"):
        raise UsageError(f"--event-format wants v2 or body, not {options.event_format!r}")
    if options.concurrency < 1:
        raise UsageError("--concurrency must be at least 1")
    return options
